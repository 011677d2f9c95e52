/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "volume/device-selector.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyz"
#define DIGITS "0123456789"

/* What follows the prefix. NULL: the text begins otherwise. */
static const char *after(const char *text, const char *prefix) {
        size_t length = strlen(prefix);

        return strncmp(text, prefix, length) == 0 ? text + length : NULL;
}

/* As strspn(). Of that gcc 12 says, where UBSan is on, that it reads beyond the end of the text. */
static size_t span(const char *text, const char *set) {
        size_t n = 0;

        while (text[n] != '\0' && strchr(set, text[n]))
                n++;
        return n;
}

static bool is_attachment(const char *text) {
        const char *rest = after(text, "sd") ?: after(text, "xvd");
        size_t letters = rest ? span(rest, LETTERS) : 0, digits;

        if (letters < 1 || letters > 2)
                return false;
        rest += letters;
        digits = span(rest, DIGITS);
        return digits <= 2 && rest[digits] == '\0';
}

static bool is_volume_id(const char *text) {
        const char *rest = after(text, "vol-");
        size_t digits = rest ? span(rest, DIGITS "abcdef") : 0;

        return (digits == 8 || digits == 17) && rest[digits] == '\0';
}

/* Below /dev, and not round about: a path that is compared with nothing must say where it leads. */
static bool is_device_path(const char *text) {
        return strncmp(text, "/dev/", 5) == 0 && text[5] != '\0' && text[strlen(text) - 1] != '/' &&
               span(text, LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZ" DIGITS "/_.:@=+\\-") == strlen(text) &&
               !strstr(text, "//") && !strstr(text, "/./") && !strstr(text, "/../") &&
               strcmp(strrchr(text, '/'), "/.") != 0 && strcmp(strrchr(text, '/'), "/..") != 0;
}

int device_selector_parse(const char *text, DeviceSelector *ret) {
        DeviceSelector selector = {};
        const char *name = after(text, "/dev/") ?: text;

        if (strlen(text) >= sizeof(selector.text))
                return -EINVAL;
        if (is_attachment(name)) {
                selector.kind = DEVICE_ATTACHMENT;
                text = name;
        } else if (is_volume_id(text))
                selector.kind = DEVICE_VOLUME_ID;
        else if (is_device_path(text))
                selector.kind = DEVICE_PATH;
        else
                return -EINVAL;
        memcpy(selector.text, text, strlen(text) + 1);
        *ret = selector;
        return 0;
}
