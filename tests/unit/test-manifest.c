/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "failing-memory.h"
#include "vault/manifest.h"

static ManifestHeader header;
static ManifestEntry entries[3];
static ManifestMember members[4];
static ManifestEvent events[2];
static size_t events_count;

static int set_up(void **state) {
        static const char *const names[] = { "api-token", "db-password", "db_password.2" };

        events_count = 0;
        header = (ManifestHeader){ .generation = 7, .count = 3, .lock_pcr = 15, .locked = 1 };
        memset(header.boot_id, 0xB0, sizeof(header.boot_id));
        memset(header.pcr_before, 0xFC, sizeof(header.pcr_before));
        for (size_t i = 0; i < ELEMENTSOF(entries); i++) {
                entries[i] = (ManifestEntry){ .generation = i + 5, .size = i * 1000 };
                (void) snprintf(entries[i].name, sizeof(entries[i].name), "%s", names[i]);
                memset(entries[i].checksum, (int) i, sizeof(entries[i].checksum));
                memset(entries[i].stands_for, 0x80 + (int) i, sizeof(entries[i].stands_for));
        }
        return 0;
}

static int format_into(ManifestEntry *list, ManifestMember *places, Secret **ret) {
        return manifest_format(&(Manifest){ .header = header,
                                            .entries = list,
                                            .members = places,
                                            .events = events,
                                            .events_count = events_count },
                               ret);
}

static Secret *format(void) {
        Secret *secret = NULL;

        assert_int_equal(format_into(entries, members, &secret), 0);
        return secret;
}

static void parse_into(Secret *secret, Manifest *ret) {
        assert_int_equal(manifest_parse(secret_bytes(secret), secret_size(secret), ret), 0);
}

static int parse(Secret *secret, size_t size) {
        _cleanup_(manifest_clear) Manifest parsed = { .header.generation = 4711 };
        int r = manifest_parse(secret_bytes(secret), size, &parsed);

        if (r < 0) { /* a failure writes nothing */
                assert_null(parsed.entries);
                assert_null(parsed.members);
                assert_null(parsed.events);
                assert_int_equal(parsed.header.generation, 4711);
        }
        return r;
}

/* Fails the test if the current manifest is accepted. what: the reason why it should be refused. */
static void assert_refused(const char *what) {
        _cleanup_secret_ Secret *secret = format();

        if (parse(secret, secret_size(secret)) != -EBADMSG)
                fail_msg("%s was accepted", what);
        (void) set_up(NULL);
}

static void test_a_manifest_is_parsed_as_it_was_formatted(void **state) {
        _cleanup_secret_ Secret *secret = format();
        _cleanup_(manifest_clear) Manifest parsed = {};

        parse_into(secret, &parsed);
        assert_int_equal(parsed.header.generation, 7);
        assert_int_equal(parsed.header.count, 3);
        assert_int_equal(parsed.header.lock_pcr, 15);
        assert_int_equal(parsed.header.locked, 1);
        assert_memory_equal(parsed.header.boot_id, header.boot_id, sizeof(header.boot_id));
        assert_memory_equal(parsed.header.pcr_before, header.pcr_before, sizeof(header.pcr_before));
        assert_memory_equal(parsed.entries, entries, sizeof(entries));
}

static void test_an_empty_manifest_is_valid(void **state) {
        _cleanup_secret_ Secret *secret = NULL;

        header.count = 0;
        assert_int_equal(format_into(NULL, NULL, &secret), 0);
        assert_int_equal(secret_size(secret), sizeof(header));
        assert_int_equal(parse(secret, sizeof(header)), 0);
}

static void test_any_other_length_is_refused(void **state) {
        _cleanup_secret_ Secret *secret = format();

        for (size_t size = 0; size < secret_size(secret); size++)
                if (parse(secret, size) != -EBADMSG)
                        fail_msg("%zu of %zu bytes were accepted", size, secret_size(secret));
        header.count = 2;
        memcpy(secret_bytes(secret) + offsetof(ManifestHeader, count), &header.count, sizeof(header.count));
        assert_int_equal(parse(secret, secret_size(secret)), -EBADMSG);
        header.count = UINT32_MAX;
        memcpy(secret_bytes(secret) + offsetof(ManifestHeader, count), &header.count, sizeof(header.count));
        assert_int_equal(parse(secret, secret_size(secret)), -EBADMSG);
}

static void test_another_version_is_refused(void **state) {
        _cleanup_secret_ Secret *secret = format();

        secret_bytes(secret)[strlen("unseald kept ")] = '5';
        assert_int_equal(parse(secret, secret_size(secret)), -EBADMSG);
}

/* An update of the package keeps the secrets. */
static void test_a_manifest_of_the_first_release_is_read(void **state) {
        const size_t old_size = offsetof(ManifestEntry, version);
        _cleanup_secret_ Secret *secret = format(), *old = NULL;
        _cleanup_(manifest_clear) Manifest parsed = {};

        assert_int_equal(secret_new(sizeof(header) + 3 * old_size, &old), 0);
        memcpy(secret_bytes(old), secret_bytes(secret), sizeof(header));
        secret_bytes(old)[strlen("unseald kept ")] = '1';
        for (size_t i = 0; i < 3; i++)
                memcpy(secret_bytes(old) + sizeof(header) + i * old_size, entries + i, old_size);
        parse_into(old, &parsed);
        assert_int_equal(parsed.header.count, 3);
        for (size_t i = 0; i < 3; i++) {
                assert_memory_equal(parsed.entries + i, entries + i, old_size);
                assert_int_equal(parsed.entries[i].version, 0);
                assert_int_equal(parsed.entries[i].is_signed, 0);
        }
        assert_int_equal(parse(old, secret_size(old) - 1), -EBADMSG);
}

static void test_a_signed_version_is_kept(void **state) {
        _cleanup_secret_ Secret *secret = NULL;
        _cleanup_(manifest_clear) Manifest parsed = {};

        entries[1].is_signed = 1;
        entries[1].version = UINT64_MAX;
        secret = format();
        parse_into(secret, &parsed);
        assert_int_equal(parsed.entries[1].is_signed, 1);
        assert_int_equal(parsed.entries[1].version, UINT64_MAX);
}

/* The first and the third secret are bundles. */
static void add_members(void) {
        static const char *const names[] = { "a", "b", "cert.pem", "key.pem" };

        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                members[i] = (ManifestMember){ .offset = i * 10, .size = 10 };
                (void) snprintf(members[i].name, sizeof(members[i].name), "%s", names[i]);
        }
        entries[0].size = 20;
        entries[0].members = 2;
        entries[2].size = 40;
        entries[2].members = 2;
}

static void test_the_places_of_the_members_of_bundles_are_kept(void **state) {
        _cleanup_secret_ Secret *secret = NULL;
        _cleanup_(manifest_clear) Manifest parsed = {};

        add_members();
        secret = format();
        parse_into(secret, &parsed);
        assert_memory_equal(parsed.entries, entries, sizeof(entries));
        assert_memory_equal(parsed.members, members, sizeof(members));
        for (size_t size = 0; size < secret_size(secret); size++)
                if (parse(secret, size) != -EBADMSG)
                        fail_msg("%zu of %zu bytes were accepted", size, secret_size(secret));
}

/* Version 2 had the same entries, and nothing behind them. */
static void test_a_manifest_without_members_is_read_after_an_update(void **state) {
        _cleanup_secret_ Secret *secret = format(), *bundle = NULL;

        secret_bytes(secret)[strlen("unseald kept ")] = '2';
        assert_int_equal(parse(secret, secret_size(secret)), 0);
        add_members();
        bundle = format();
        secret_bytes(bundle)[strlen("unseald kept ")] = '2';
        assert_int_equal(parse(bundle, secret_size(bundle)), -EBADMSG);
}

static void add_events(void) {
        for (size_t i = 0; i < ELEMENTSOF(events); i++) {
                events[i] = (ManifestEvent){ .pcr = (uint8_t) (8 + 6 * i) };
                (void) snprintf(events[i].name, sizeof(events[i].name), "db-password");
                memset(events[i].sealed, 0x50 + (int) i, sizeof(events[i].sealed));
                memset(events[i].before, 0x60 + (int) i, sizeof(events[i].before));
        }
        events_count = 2;
}

static void test_the_measured_secrets_are_kept_in_their_order(void **state) {
        _cleanup_(manifest_clear) Manifest parsed = {};
        _cleanup_secret_ Secret *secret = NULL;

        add_members();
        add_events();
        header.measured = 1;
        secret = format();
        parse_into(secret, &parsed);
        assert_int_equal(parsed.header.measured, 1);
        assert_int_equal(parsed.events_count, 2);
        assert_memory_equal(parsed.events, events, sizeof(events));
        for (size_t size = 0; size < secret_size(secret); size++)
                if (parse(secret, size) != -EBADMSG && size != secret_size(secret) - sizeof(*events))
                        fail_msg("%zu of %zu bytes were accepted", size, secret_size(secret));
}

/* Version 3 had nothing behind the members. */
static void test_a_manifest_without_events_is_read_after_an_update(void **state) {
        _cleanup_secret_ Secret *secret = NULL, *measured = NULL;

        add_members();
        secret = format();
        secret_bytes(secret)[strlen("unseald kept ")] = '3';
        assert_int_equal(parse(secret, secret_size(secret)), 0);
        add_events();
        measured = format();
        secret_bytes(measured)[strlen("unseald kept ")] = '3';
        assert_int_equal(parse(measured, secret_size(measured)), -EBADMSG);
}

static void test_an_impossible_event_is_refused(void **state) {
        add_events();
        header.measured = 3;
        assert_refused("three of two events are extended");
        add_events();
        events[1].pcr = 24;
        assert_refused("an event in PCR 24");
        add_events();
        events[0].pcr = 0;
        assert_refused("an event in PCR 0");
        add_events();
        events[0].reserved[6] = 1;
        assert_refused("something in the reserved bytes of an event");
        add_events();
        events[0].name[0] = 0;
        assert_refused("an event of no secret");
        add_events();
        events[0].name[sizeof(events[0].name) - 1] = 'x';
        assert_refused("something behind the name of an event");
}

static void test_the_number_of_events_is_limited(void **state) {
        _cleanup_free_ ManifestEvent *many = calloc(MANIFEST_EVENTS_MAX + 1, sizeof(*many));
        _cleanup_secret_ Secret *full = NULL, *over = NULL;
        Manifest manifest = {
                .header = header, .entries = entries, .events = many, .events_count = MANIFEST_EVENTS_MAX
        };

        assert_non_null(many);
        for (size_t i = 0; i <= MANIFEST_EVENTS_MAX; i++)
                many[i] = (ManifestEvent){ .name = "a", .pcr = 8 };
        manifest.header.measured = MANIFEST_EVENTS_MAX;
        assert_int_equal(manifest_format(&manifest, &full), 0);
        assert_int_equal(parse(full, secret_size(full)), 0);
        manifest.events_count++;
        assert_int_equal(manifest_format(&manifest, &over), 0);
        assert_int_equal(parse(over, secret_size(over)), -EBADMSG);
}

static void test_an_impossible_member_is_refused(void **state) {
        static const struct {
                const char *what, *name;
                uint64_t offset, size;
        } wrong[] = {
                { "a member beyond the end", "b", 11, 10 },
                { "a member that is larger than the bundle", "b", 0, 21 },
                { "a member whose end overflows", "b", UINT64_MAX, 2 },
                { "a name that is there twice", "a", 10, 10 },
                { "a member without name", "", 10, 10 },
                { "a member with a path", "b/c", 10, 10 },
                { "a hidden member", ".b", 10, 10 },
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                add_members();
                members[1] = (ManifestMember){ .offset = wrong[i].offset, .size = wrong[i].size };
                (void) snprintf(members[1].name, sizeof(members[1].name), "%s", wrong[i].name);
                assert_refused(wrong[i].what);
        }
        add_members();
        members[0].name[sizeof(members[0].name) - 1] = 'x';
        assert_refused("something behind a name");
        add_members();
        memset(members[3].name, 'x', sizeof(members[3].name) - 1);
        assert_refused("a name that is too long for a credential");
}

static void test_the_number_of_members_is_limited(void **state) {
        _cleanup_free_ ManifestMember *many = calloc(MANIFEST_MEMBERS_MAX + 1, sizeof(*many));
        _cleanup_secret_ Secret *full = NULL, *over = NULL;

        assert_non_null(many);
        for (unsigned i = 0; i <= MANIFEST_MEMBERS_MAX; i++)
                (void) snprintf(many[i].name, sizeof(many[i].name), "member-%05u", i);
        entries[0].members = MANIFEST_MEMBERS_MAX;
        assert_int_equal(format_into(entries, many, &full), 0);
        assert_int_equal(parse(full, secret_size(full)), 0);
        entries[0].members++;
        assert_int_equal(format_into(entries, many, &over), 0);
        assert_int_equal(parse(over, secret_size(over)), -EBADMSG);
}

static void test_an_impossible_header_is_refused(void **state) {
        header.generation = 0;
        assert_refused("generation 0");
        header.generation = header.count = 0; /* no entry is of a later generation */
        assert_refused("generation 0 without entries");
        header.lock_pcr = 24;
        assert_refused("PCR 24");
        header.locked = 2;
        assert_refused("a lock that is neither done nor not");
        header.lock_pcr = 0;
        assert_refused("a lock that is done where there is none");
        header.measured = 1;
        assert_refused("more extended events than there are");
}

static void test_an_impossible_entry_is_refused(void **state) {
        static const char *const wrong[] = {
                "",    ".hidden",  "a/b",
                "a b", "../a",     "a\n",
                "a:b", "\xc3\xa9", "a234567890123456789012345678901234567890123456789012345678901234x"
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                header.count = 1;
                memset(entries[0].name, 0, sizeof(entries[0].name));
                memcpy(entries[0].name, wrong[i], strlen(wrong[i]));
                assert_refused(wrong[i]);
        }
        memset(entries[2].name, 'x', sizeof(entries[2].name));
        assert_refused("a name without end");
        entries[0].name[sizeof(entries[0].name) - 1] = 'x';
        assert_refused("something behind a name");
        entries[0].generation = 8;
        assert_refused("an entry newer than its manifest");
        entries[0].generation = 0;
        assert_refused("an entry of no generation");
        entries[1].version = 1;
        assert_refused("a version without a signature");
        entries[1].is_signed = 2;
        assert_refused("a secret that is neither signed nor not");
        entries[1].reserved[2] = 1;
        assert_refused("something in the reserved bytes of an entry");
        entries[1].size = MANIFEST_SIZE_MAX + 1;
        memset(entries[1].checksum, 0, sizeof(entries[1].checksum));
        assert_refused("a secret that is too large");
        entries[1].size = SECRET_SIZE_MAX + 1;
        entries[1].checksum[31] = 1;
        assert_refused("a checksum of a secret that no restart reads");
}

static void test_the_longest_name_and_the_largest_secret_are_valid(void **state) {
        _cleanup_secret_ Secret *secret = NULL;

        memset(entries[2].name, 'x', 64);
        entries[0].size = SECRET_SIZE_MAX;
        entries[0].generation = 1;
        entries[1].generation = 7;
        entries[1].size = MANIFEST_SIZE_MAX;
        memset(entries[1].checksum, 0, sizeof(entries[1].checksum));
        header.lock_pcr = 23;
        secret = format();
        assert_int_equal(parse(secret, secret_size(secret)), 0);
}

static int format_and_parse(void) {
        _cleanup_secret_ Secret *secret = NULL;
        int r = format_into(entries, members, &secret);

        return r < 0 ? r : parse(secret, secret_size(secret));
}

static void test_a_lack_of_memory_is_no_damage(void **state) {
        assert_allocations_are_checked(format_and_parse);
}

static void test_names_are_unique_and_sorted(void **state) {
        memcpy(entries[1].name, entries[0].name, sizeof(entries[0].name));
        assert_refused("a name that is there twice");
        memcpy(entries[1].name, entries[2].name, sizeof(entries[0].name));
        memcpy(entries[2].name, "a", 2);
        assert_refused("names in another order");
}

static void test_the_number_of_entries_is_limited(void **state) {
        _cleanup_free_ ManifestEntry *many = calloc(MANIFEST_ENTRIES_MAX + 1, sizeof(*many));
        _cleanup_secret_ Secret *full = NULL, *over = NULL;

        assert_non_null(many);
        for (unsigned i = 0; i <= MANIFEST_ENTRIES_MAX; i++) {
                many[i].generation = 1;
                (void) snprintf(many[i].name, sizeof(many[i].name), "secret-%04u", i);
        }
        header.count = MANIFEST_ENTRIES_MAX;
        assert_int_equal(format_into(many, NULL, &full), 0);
        assert_int_equal(parse(full, secret_size(full)), 0);
        header.count++;
        assert_int_equal(format_into(many, NULL, &over), 0);
        assert_int_equal(parse(over, secret_size(over)), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(test_a_manifest_is_parsed_as_it_was_formatted, set_up),
                cmocka_unit_test_setup(test_an_empty_manifest_is_valid, set_up),
                cmocka_unit_test_setup(test_any_other_length_is_refused, set_up),
                cmocka_unit_test_setup(test_another_version_is_refused, set_up),
                cmocka_unit_test_setup(test_a_manifest_of_the_first_release_is_read, set_up),
                cmocka_unit_test_setup(test_a_signed_version_is_kept, set_up),
                cmocka_unit_test_setup(test_the_places_of_the_members_of_bundles_are_kept, set_up),
                cmocka_unit_test_setup(test_a_manifest_without_members_is_read_after_an_update, set_up),
                cmocka_unit_test_setup(test_the_measured_secrets_are_kept_in_their_order, set_up),
                cmocka_unit_test_setup(test_a_manifest_without_events_is_read_after_an_update, set_up),
                cmocka_unit_test_setup(test_an_impossible_event_is_refused, set_up),
                cmocka_unit_test_setup(test_the_number_of_events_is_limited, set_up),
                cmocka_unit_test_setup(test_an_impossible_member_is_refused, set_up),
                cmocka_unit_test_setup(test_the_number_of_members_is_limited, set_up),
                cmocka_unit_test_setup(test_an_impossible_header_is_refused, set_up),
                cmocka_unit_test_setup(test_an_impossible_entry_is_refused, set_up),
                cmocka_unit_test_setup(test_the_longest_name_and_the_largest_secret_are_valid, set_up),
                cmocka_unit_test_setup(test_a_lack_of_memory_is_no_damage, set_up),
                cmocka_unit_test_setup(test_names_are_unique_and_sorted, set_up),
                cmocka_unit_test_setup(test_the_number_of_entries_is_limited, set_up),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
