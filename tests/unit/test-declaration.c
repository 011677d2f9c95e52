/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/openssl-util.h"
#include "config/declaration.h"

#define KEY "arn:aws:kms:eu-north-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab"
#define REPLICA "arn:aws:kms:eu-west-1:111111111111:key/mrk-1234abcd12ab34cd56ef1234567890ab"
#define MINIMUM "[Secret]\nSource=file:/usr/share/db.sealed\nKeyId=" KEY "\n" /* three lines */

static int make_directories(void **state) {
        static const char *const directories[] = { "vendor", "local", "vendor/secrets.d", "local/secrets.d",
                                                   "local/secrets.d/db.secret.d" };
        char *root = strdup("/tmp/test-declaration-XXXXXX");

        assert_non_null(root);
        assert_non_null(mkdtemp(root));
        assert_int_equal(chdir(root), 0);
        for (size_t i = 0; i < ELEMENTSOF(directories); i++)
                assert_int_equal(mkdir(directories[i], 0755), 0);
        *state = root;
        return 0;
}

static int remove_directories(void **state) {
        _cleanup_free_ char *command = NULL;

        assert_int_equal(chdir("/"), 0);
        assert_true(asprintf(&command, "rm -r %s", (char *) *state) > 0);
        assert_int_equal(system(command), 0);
        free(*state);
        return 0;
}

static void put(const char *path, const char *text) {
        assert_int_equal(write_file_atomic(path, text, strlen(text), 0644), 0);
}

static Declarations read_all(void) {
        Declarations declarations;
        Error error;

        if (declarations_read("vendor", "local", &declarations, &error) < 0)
                fail_msg("%s", error.text);
        return declarations;
}

/* Reads MINIMUM followed by these lines. The first of them is line 4. */
static Declarations accepted(const char *lines) {
        _cleanup_free_ char *text = NULL;
        Declarations declarations;

        assert_true(asprintf(&text, MINIMUM "%s\n", lines) > 0);
        put("local/secrets.d/db.secret", text);
        declarations = read_all();
        assert_int_equal(declarations.count, 1);
        return declarations;
}

static void refused_text(const char *text, const char *expected) {
        Declarations declarations = {};
        Error error = {};

        put("local/secrets.d/db.secret", text);
        if (declarations_read("vendor", "local", &declarations, &error) >= 0)
                fail_msg("<%s> was accepted", text);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_null(declarations.items);
        if (strncmp(error.text, expected, strlen(expected)) != 0)
                fail_msg("<%s>: saw \"%s\", wanted it to begin with \"%s\"", text, error.text, expected);
}

static void refused(const char *lines, const char *expected) {
        _cleanup_free_ char *text = NULL, *wanted = NULL;

        assert_true(asprintf(&text, MINIMUM "%s\n", lines) > 0);
        assert_true(asprintf(&wanted, "local/secrets.d/db.secret:4: %s", expected) > 0);
        refused_text(text, wanted);
}

static void assert_list(char *const *list, const char *expected) {
        char seen[1024] = "";

        for (; list && *list; list++) {
                assert_true(strlen(seen) + strlen(*list) + 2 < sizeof(seen));
                strcat(strcat(seen, "|"), *list);
        }
        assert_string_equal(seen, expected);
}

static void test_more_than_500_secrets_are_refused(void **state) {
        Declarations declarations = {};
        Error error = {};
        char path[64];

        put("local/secrets.d/db.secret", MINIMUM);
        for (int i = 1; i < 500; i++) {
                (void) snprintf(path, sizeof(path), "vendor/secrets.d/s%03d.secret", i);
                assert_int_equal(link("local/secrets.d/db.secret", path), 0);
        }
        declarations = read_all();
        assert_int_equal(declarations.count, 500);
        declarations_clear(&declarations);
        assert_int_equal(link("local/secrets.d/db.secret", "local/secrets.d/one-more.secret"), 0);
        assert_int_equal(declarations_read("vendor", "local", &declarations, &error), -E2BIG);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_null(declarations.items);
        assert_non_null(strstr(error.text, "501 secrets are declared"));
        assert_non_null(strstr(error.text, "no more than 500"));
}

static void test_smallest_declaration_has_safe_defaults(void **state) {
        Declarations declarations = accepted("");
        const Declaration *db = &declarations.items[0];

        assert_string_equal(db->name, "db");
        assert_string_equal(db->file, "local/secrets.d/db.secret");
        assert_null(db->description);
        assert_int_equal(db->source.kind, SOURCE_FILE);
        assert_string_equal(db->source.location, "/usr/share/db.sealed");
        assert_list(db->key_ids, "|" KEY);
        assert_list(db->encryption_context, "|unseald:secret=db");
        assert_null(db->source_region);
        assert_int_equal(db->size_max, 6144);
        assert_false(db->optional);
        assert_false(db->bind_account);
        assert_list(db->units, "");
        assert_true(db->store);
        assert_null(db->user);
        assert_null(db->group);
        assert_int_equal(db->mode, 0400);
        declarations_clear(&declarations);
        assert_null(declarations.items);
        assert_int_equal(declarations.count, 0);
}

static void test_every_key_is_read(void **state) {
        Declarations declarations = accepted(
                        "Description=Password of the database\nKeyId=" REPLICA "\n"
                        "EncryptionContext=tenant=a=b \"team=c d\"\nOptional=yes\nBindAccount=yes\n"
                        "[Deliver]\nUnits=billing.service worker@1.service\nUnits=data.mount\nStore=yes\n"
                        "User=billing\nGroup=accounts\nMode=0440");
        const Declaration *db = &declarations.items[0];

        assert_string_equal(db->description, "Password of the database");
        assert_list(db->key_ids, "|" KEY "|" REPLICA);
        assert_list(db->encryption_context, "|tenant=a=b|team=c d|unseald:secret=db");
        assert_true(db->optional);
        assert_true(db->bind_account);
        assert_list(db->units, "|billing.service|worker@1.service|data.mount");
        assert_string_equal(db->user, "billing");
        assert_string_equal(db->group, "accounts");
        assert_int_equal(db->mode, 0440);
        declarations_clear(&declarations);
}

static void test_drop_ins_add_replace_and_reset(void **state) {
        Declarations declarations;
        const Declaration *db;

        put("vendor/secrets.d/db.secret",
            MINIMUM "Description=x\nOptional=yes\nEncryptionContext=a=1 b=2\nBindAccount=yes\n"
                    "[Deliver]\nUser=a\nGroup=a\nMode=0440\nUnits=a.service\nStore=\n");
        put("local/secrets.d/db.secret.d/10.conf", "[Secret]\nBindAccount=\nKeyId=\nKeyId=" REPLICA
                                                   "\nSource=\nSource=file:/b\nEncryptionContext=a=3\n");
        declarations = read_all();
        db = &declarations.items[0];
        assert_list(db->key_ids, "|" REPLICA);
        assert_string_equal(db->source.location, "/b");
        assert_list(db->encryption_context, "|a=3|b=2|unseald:secret=db");
        assert_false(db->bind_account);
        declarations_clear(&declarations);

        put("local/secrets.d/db.secret.d/20.conf", "[Secret]\nDescription=\nOptional=\nEncryptionContext=\n"
                                                   "[Deliver]\nUser=\nGroup=\nMode=\nUnits=\n");
        declarations = read_all();
        db = &declarations.items[0];
        assert_string_equal(db->file, "vendor/secrets.d/db.secret");
        assert_null(db->description);
        assert_false(db->optional);
        assert_list(db->encryption_context, "|unseald:secret=db");
        assert_null(db->user);
        assert_null(db->group);
        assert_int_equal(db->mode, 0400);
        assert_list(db->units, "");
        declarations_clear(&declarations);
}

static void test_secrets_of_both_directories_come_sorted_by_name(void **state) {
        Declarations declarations;

        declarations = read_all();
        assert_int_equal(declarations.count, 0);
        declarations_clear(&declarations);

        put("vendor/secrets.d/b.secret", MINIMUM);
        put("local/secrets.d/a.b.secret", MINIMUM);
        put("vendor/secrets.d/a.secret", "nonsense");
        put("local/secrets.d/a.secret", MINIMUM);
        put("vendor/secrets.d/c.secret", "nonsense");
        put("local/secrets.d/c.secret", "");
        put("vendor/secrets.d/d.secret", "nonsense");
        assert_int_equal(symlink("/dev/null", "local/secrets.d/d.secret"), 0);
        put("local/secrets.d/README", "not a secret");
        put("local/secrets.d/.e.secret", "hidden");

        declarations = read_all();
        assert_int_equal(declarations.count, 3);
        assert_string_equal(declarations.items[0].name, "a");
        assert_string_equal(declarations.items[0].file, "local/secrets.d/a.secret");
        assert_string_equal(declarations.items[1].name, "a.b");
        assert_string_equal(declarations.items[2].name, "b");
        assert_list(declarations.items[2].encryption_context, "|unseald:secret=b");
        declarations_clear(&declarations);
}

static void test_missing_keys_are_named(void **state) {
        refused_text("[Secret]\nKeyId=" KEY "\n",
                     "local/secrets.d/db.secret: Source= is missing in section [Secret].");
        refused_text("[Secret]\nSource=file:/a\n",
                     "local/secrets.d/db.secret: KeyId= is missing in section [Secret].");
        refused_text(MINIMUM "KeyId=\n",
                     "local/secrets.d/db.secret: KeyId= is missing in section [Secret].");
        refused_text("# nothing\n", "local/secrets.d/db.secret: Source= is missing");
        refused_text("nonsense\n", "local/secrets.d/db.secret:1: Expected");
}

#define GENERATED "[Secret]\nKeyId=" KEY "\nGenerate=32\n"

static void test_the_key_of_a_volume_is_made_once_and_bound_to_it(void **state) {
        static const char missing[] = GENERATED "GenerateWhen=missing\nSource=volume:state\n";
        static const struct {
                const char *text, *expected;
        } wrong[] = {
                { GENERATED "GenerateWhen=missing\nSource=file:/a\n",
                  "4: GenerateWhen=: Expected Source=volume:NAME with missing" },
                { GENERATED "GenerateWhen=missing\nSource=volume:state\nBindAccount=no\n",
                  "6: BindAccount=: Expected yes with Source=volume:, or no line" },
                { GENERATED "GenerateWhen=missing\nSource=volume:state\nSignedBy=/a\n", "6: SignedBy=: " },
                { GENERATED "GenerateWhen=missing\nSource=volume:state\nMeasurePcr=8\n",
                  "6: MeasurePcr=: The setting is for a sealed secret" },
                { GENERATED "Generate=31\nGenerateWhen=missing\nSource=volume:state\n",
                  "4: Generate=: Expected at least 32 bytes with GenerateWhen=missing" },
                { GENERATED "Generate=\nSource=volume:state\n",
                  "5: Source=: volume: needs Generate= and GenerateWhen=missing" },
        };
        uint8_t one[DECLARATION_DIGEST_SIZE], other[DECLARATION_DIGEST_SIZE];
        Declarations declarations;

        put("local/secrets.d/db.secret", missing);
        declarations = read_all();
        assert_true(declarations.items[0].generate_missing);
        assert_false(declaration_is_of_one_boot(declarations.items));
        assert_int_equal(declarations.items[0].source.kind, SOURCE_VOLUME);
        assert_string_equal(declarations.items[0].source.location, "state");
        assert_true(declarations.items[0].bind_account);
        assert_list(declarations.items[0].encryption_context, "|unseald:volume=state|unseald:secret=db");
        assert_int_equal(declaration_digest(declarations.items, one), 0);
        declarations_clear(&declarations);
        put("local/secrets.d/db.secret", GENERATED "GenerateWhen=missing\nSource=volume:other\n");
        declarations = read_all();
        assert_int_equal(declaration_digest(declarations.items, other), 0);
        assert_memory_not_equal(one, other, sizeof(one));
        declarations_clear(&declarations);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *expected = NULL;

                assert_true(asprintf(&expected, "local/secrets.d/db.secret:%s", wrong[i].expected) > 0);
                refused_text(wrong[i].text, expected);
        }
        unlink("local/secrets.d/db.secret");
}

/* Otherwise the label of a new volume could get the ciphertext of the one beside the MAC of the other. */
static void test_a_label_keeps_the_key_of_one_secret(void **state) {
        static const char missing[] = GENERATED "GenerateWhen=missing\nSource=volume:state\n";
        Declarations declarations;

        put("local/secrets.d/a.secret", GENERATED "GenerateWhen=missing\nSource=volume:other\n");
        put("local/secrets.d/db.secret", missing);
        declarations = read_all();
        assert_int_equal(declarations.count, 2);
        declarations_clear(&declarations);
        put("local/secrets.d/a.secret", missing);
        refused_text(missing,
                     "local/secrets.d/db.secret:5: Source=: The label of the volume state is the source of the secret a, too");
        unlink("local/secrets.d/a.secret");
        unlink("local/secrets.d/db.secret");
}

static void test_a_value_that_kms_makes_has_no_source(void **state) {
        static const struct {
                const char *lines, *expected;
        } wrong[] = {
                { "Source=file:/a\n", "Source=: The setting is for a sealed secret" },
                { "SourceRegion=eu-north-1\n", "SourceRegion=: The setting is for a sealed secret" },
                { "Format=bundle\n", "Format=: The setting is for a sealed secret" },
                { "SizeMax=12\n", "SizeMax=: The setting is for a sealed secret" },
                { "Sha256=0123456789012345678901234567890123456789012345678901234567890123\n",
                  "Sha256=: The setting is for a sealed secret" },
                { "AllowUncommitted=yes\n", "AllowUncommitted=: The setting is for a sealed secret" },
                { "Signature=file:/a\n", "Signature=: The setting is for a sealed secret" },
                { "MinVersion=1\n", "MinVersion=: The setting is for a sealed secret" },
                { "MeasurePcr=8\n", "MeasurePcr=: The setting is for a sealed secret" },
                { "GenerateWhen=missing\n", "GenerateWhen=: Expected Source=volume:NAME with missing" },
                { "GenerateWhen=never\n", "GenerateWhen=: Expected always or missing, not \"never\"." },
                { "Source=volume:state\n", "Source=: A label of a volume keeps what Generate= has made" },
                { "Generate=0\n", "Generate=: Expected a number of bytes from 1 to 1024" },
                { "Generate=1025\n", "Generate=: Expected a number of bytes from 1 to 1024" },
                { "Generate=32K\n", "Generate=: Expected a number of bytes from 1 to 1024" },
                { "Generate=-1\n", "Generate=: Expected a number of bytes from 1 to 1024" },
                { "Generate=00000000000000000000000000000000032\n",
                  "Generate=: Expected a number of bytes" },
        };
        Declarations declarations;

        put("local/secrets.d/db.secret", GENERATED "GenerateWhen=always\nFormat=\nSource=\nSizeMax=\n");
        declarations = read_all();
        assert_int_equal(declarations.items[0].generate, 32);
        assert_null(declarations.items[0].source.location);
        assert_string_equal(declarations.items[0].source.label, "Generate=32");
        assert_int_equal(declarations.items[0].format, FORMAT_KMS);
        assert_list(declarations.items[0].encryption_context, "|unseald:secret=db");
        declarations_clear(&declarations);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *text = NULL, *expected = NULL;

                assert_true(asprintf(&text, GENERATED "%s", wrong[i].lines) > 0);
                assert_true(asprintf(&expected, "local/secrets.d/db.secret:4: %s", wrong[i].expected) > 0);
                refused_text(text, expected);
        }
        refused_text("[Secret]\nGenerate=32\n", "local/secrets.d/db.secret: KeyId= is missing");
        refused_text(MINIMUM "GenerateWhen=always\n",
                     "local/secrets.d/db.secret:4: GenerateWhen=: The setting needs Generate=");
        /* The last line counts. */
        put("local/secrets.d/db.secret", GENERATED "Generate=\nSource=file:/a\n");
        declarations = read_all();
        assert_int_equal(declarations.items[0].generate, 0);
        assert_string_equal(declarations.items[0].source.location, "/a");
        declarations_clear(&declarations);
}

static void test_names_are_those_of_credentials(void **state) {
        static const char *const wrong[] = {
                "a b",
                "a@b",
                "ä",
                "0123456789012345678901234567890123456789012345678901234567890123x",
        };
        static const char *const right[] = {
                "A-z_0.9",
                "..x",
                "0123456789012345678901234567890123456789012345678901234567890123",
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *path = NULL;
                Declarations declarations;
                Error error = {};

                assert_true(asprintf(&path, "local/secrets.d/%s.secret", wrong[i]) > 0);
                put(path, MINIMUM);
                assert_int_equal(declarations_read("vendor", "local", &declarations, &error), -EINVAL);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
                assert_int_equal(strncmp(error.text, path, strlen(path)), 0);
                assert_int_equal(unlink(path), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                _cleanup_free_ char *path = NULL;
                Declarations declarations;

                assert_true(asprintf(&path, "vendor/secrets.d/%s.secret", right[i]) > 0);
                put(path, MINIMUM);
                declarations = read_all();
                assert_int_equal(declarations.count, right[i][0] == '.' ? 0 : 1); /* hidden */
                declarations_clear(&declarations);
                assert_int_equal(unlink(path), 0);
        }
}

static void test_key_is_pinned_by_its_arn(void **state) {
        refused("KeyId=alias/billing", "KeyId=: Expected the ARN of a key, not the alias \"alias/billing\"");
        refused("KeyId=arn:aws:kms:eu-north-1:111111111111:alias/billing",
                "KeyId=: Expected the ARN of a key, not the alias");
        refused("KeyId=1234abcd-12ab-34cd-56ef-1234567890ab",
                "KeyId=: Expected the ARN of a key, arn:PARTITION:kms:");
        refused("KeyId=arn:aws:s3:::bucket", "KeyId=: Expected the ARN of a key, arn:PARTITION:kms:");
        refused("KeyId=arn:aws-elsewhere:kms:x-1:111111111111:key/1",
                "KeyId=: Expected a partition that this version of unseald knows, such as aws, not \"aws-elsewhere\"");
        refused("KeyId=\"" KEY, "KeyId=: Expected words");
}

static void test_number_of_keys_is_bounded(void **state) {
        char text[4096] = "";
        Declarations declarations;

        for (size_t i = 0; i < 31; i++)
                strcat(text, "KeyId=" KEY "\n");
        declarations = accepted(text);
        declarations_clear(&declarations);
        strcat(text, "KeyId=" KEY);

        _cleanup_free_ char *whole = NULL;
        assert_true(asprintf(&whole, MINIMUM "%s\n", text) > 0);
        refused_text(whole, "local/secrets.d/db.secret:35: KeyId=: Expected no more than 32 keys.");
}

static void test_encryption_context_binds_the_secrets_own_name(void **state) {
        Declarations declarations = accepted("EncryptionContext=unseald:secret=db x=");

        assert_list(declarations.items[0].encryption_context, "|x=|unseald:secret=db");
        declarations_clear(&declarations);

        refused("EncryptionContext=unseald:secret=other",
                "EncryptionContext=: Expected a key that does not begin with \"unseald:\", not \"unseald:secret=other\". Only \"unseald:secret=db\" is allowed");
        refused("EncryptionContext=unseald:secret=", "EncryptionContext=: Expected a key that does not");
        refused("EncryptionContext=unseald:account=1", "EncryptionContext=: Expected a key that does not");
        refused("EncryptionContext=unseald:=1", "EncryptionContext=: Expected a key that does not");
        refused("EncryptionContext=a", "EncryptionContext=: Expected KEY=VALUE, not \"a\".");
        refused("EncryptionContext==a", "EncryptionContext=: Expected KEY=VALUE, not \"=a\".");
        refused("EncryptionContext=a=1 '", "EncryptionContext=: Expected words");
}

static void test_encryption_context_is_bounded(void **state) {
        char text[8192] = "EncryptionContext=";
        Declarations declarations;

        strcat(text, "k=");
        memset(text + strlen(text), 'v', 4094);
        declarations = accepted(text);
        declarations_clear(&declarations);
        strcat(text, "v");
        refused(text, "EncryptionContext=: Expected no more than 4096 bytes in all.");

        strcpy(text, "EncryptionContext=");
        for (unsigned i = 0; i < 64; i++)
                sprintf(text + strlen(text), " k%u=v", i);
        declarations = accepted(text);
        assert_list(declarations.items[0].encryption_context + 64, "|unseald:secret=db");
        declarations_clear(&declarations);
        strcat(text, " another=v");
        refused(text, "EncryptionContext=: Expected no more than 64 pairs.");
}

static void test_source_is_checked_with_file_and_line(void **state) {
        refused("MeasurePcr=7", "MeasurePcr=: Expected 8, 13, 14 or 15, not \"7\".");
        refused("MeasurePcr=8 13", "MeasurePcr=: Expected 8, 13, 14 or 15, not \"8 13\".");
        refused("Source=ftp://host/x", "Source=: Expected file:/absolute/path");
        refused("Source=file:relative", "Source=: Expected an absolute path");
        refused("Source=http://host/x", "Source=: Expected file:/absolute/path");
        refused("Source=s3://Bucket/key", "Source=: Expected s3://BUCKET/KEY");
}

static void test_region_and_size_of_a_source_are_checked(void **state) {
        Declarations declarations = accepted("SourceRegion=eu-west-1\nSizeMax=100");

        assert_string_equal(declarations.items[0].source_region, "eu-west-1");
        assert_int_equal(declarations.items[0].size_max, 100);
        declarations_clear(&declarations);

        declarations = accepted("SourceRegion=eu-west-1\nSourceRegion=\nSizeMax=100\nSizeMax=");
        assert_null(declarations.items[0].source_region);
        assert_int_equal(declarations.items[0].size_max, 6144);
        declarations_clear(&declarations);

        refused("SourceRegion=evil.example/", "SourceRegion=: Expected a Region such as eu-north-1");
        refused("SizeMax=0", "SizeMax=: Expected a number of bytes from 1 to 6144");
        refused("SizeMax=6145", "SizeMax=: Expected a number of bytes from 1 to 6144");
        refused("SizeMax=7K", "SizeMax=: Expected a number of bytes from 1 to 6144");
        refused("SizeMax=-1", "SizeMax=: Expected a number of bytes from 1 to 6144");
        refused("SizeMax=18446744073709551617", "SizeMax=: Expected a number of bytes from 1 to 6144");
}

static void test_a_message_has_a_range_and_pins_of_its_own(void **state) {
#define PIN "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1F"
#define OTHER_PIN "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e20"
        Declarations declarations = accepted("Format=message");

        assert_int_equal(declarations.items[0].format, FORMAT_MESSAGE);
        assert_int_equal(declarations.items[0].size_max, 64 * 1048576);
        assert_false(declarations.items[0].size_max_is_set);
        assert_false(declarations.items[0].allow_uncommitted);
        assert_false(declarations.items[0].pinned);
        declarations_clear(&declarations);

        /* The order of the lines does not matter. */
        declarations = accepted("SizeMax=6145\nSha256=" PIN "\nAllowUncommitted=yes\nFormat=message");
        assert_int_equal(declarations.items[0].size_max, 6145);
        assert_true(declarations.items[0].allow_uncommitted);
        assert_true(declarations.items[0].pinned);
        for (unsigned i = 0; i < 32; i++)
                assert_int_equal(declarations.items[0].pin[i], i);
        declarations_clear(&declarations);

        declarations = accepted("Format=message\nFormat=\nSha256=" PIN
                                "\nSha256=\nAllowUncommitted=yes\nAllowUncommitted=");
        assert_int_equal(declarations.items[0].format, FORMAT_KMS);
        assert_int_equal(declarations.items[0].size_max, 6144);
        assert_false(declarations.items[0].pinned);
        assert_false(declarations.items[0].allow_uncommitted);
        declarations_clear(&declarations);

        refused("Format=bundles", "Format=: Expected kms, message or bundle, not \"bundles\".");
        declarations = accepted("SizeMax=4K");
        assert_int_equal(declarations.items[0].size_max, 4096);
        declarations_clear(&declarations);
        declarations = accepted("SizeMax=16T\nFormat=message");
        assert_int_equal(declarations.items[0].size_max, UINT64_C(17592186044416));
        declarations_clear(&declarations);
        refused("SizeMax=17T\nFormat=message",
                "SizeMax=: Expected a number of bytes from 1 to 17592186044416");
        refused("SizeMax=1MB\nFormat=message",
                "SizeMax=: Expected a number of bytes from 1 to 17592186044416");
        refused("SizeMax=1048577\nFormat=bundle", "SizeMax=: Expected a number of bytes from 1 to 1048576");
        refused("Sha256=00", "Sha256=: Expected the 64 hexadecimal digits of a SHA-256");
        refused("AllowUncommitted=perhaps", "AllowUncommitted=: ");

        declarations = accepted("Late=yes\nFormat=message");
        assert_true(declarations.items[0].late);
        declarations_clear(&declarations);
        declarations = accepted("Late=yes\nLate=");
        assert_false(declarations.items[0].late);
        declarations_clear(&declarations);
        refused("Late=yes", "Late=: Late= needs Format=message");
        refused("Late=soon\nFormat=message", "Late=: ");
}

/* Line 4 is the first of these lines, after Format=bundle in line 3. */
static void bundle_refused(const char *lines, const char *expected) {
        _cleanup_free_ char *text = NULL, *wanted = NULL;

        assert_true(asprintf(&text, "[Secret]\nSource=file:/db.sealed\nKeyId=" KEY "\nFormat=bundle\n%s\n",
                             lines) > 0);
        assert_true(asprintf(&wanted, "local/secrets.d/db.secret%s", expected) > 0);
        refused_text(text, wanted);
}

static void test_the_members_of_a_bundle_are_declared_with_their_rights(void **state) {
        Declarations declarations = accepted(
                        "Format=bundle\n[Member tls.key]\nUnits=web.service\nUser=web\nGroup=web\nMode=0440\n"
                        "[Member db-password]\n[Member license]\nOptional=yes\nStore=no\n"
                        "Description=The license\n[Member tls.key]\nUnits=mail.service");
        const Declaration *bundle = declarations.items, *member = bundle->members;

        assert_int_equal(bundle->format, FORMAT_BUNDLE);
        assert_true(declaration_is_message(bundle));
        assert_int_equal(bundle->size_max, 1048576);
        assert_null(bundle->member);
        assert_int_equal(bundle->members_count, 3);
        assert_string_equal(member[0].name, "db.db-password");
        assert_string_equal(member[0].member, "db-password");
        assert_null(member[0].units);
        assert_true(member[0].store);
        assert_int_equal(member[0].mode, 0400);
        assert_null(member[0].user);
        assert_false(member[0].optional);
        assert_string_equal(member[1].name, "db.license");
        assert_true(member[1].optional);
        assert_false(member[1].store);
        assert_string_equal(member[1].description, "The license");
        assert_string_equal(member[2].name, "db.tls.key");
        assert_list(member[2].units, "|web.service|mail.service");
        assert_string_equal(member[2].user, "web");
        assert_string_equal(member[2].group, "web");
        assert_int_equal(member[2].mode, 0440);

        assert_ptr_equal(declarations_find_credential(&declarations, "db.tls.key"), member + 2);
        assert_null(declarations_find_credential(&declarations, "db"));
        assert_null(declarations_find_credential(&declarations, "db.tls"));
        assert_null(declarations_find_credential(&declarations, "db.tls.key2"));
        assert_null(declarations_find_credential(&declarations, "dbxtls.key"));
        assert_ptr_equal(declarations_bundle_of(&declarations, member + 2), bundle);
        assert_null(declarations_bundle_of(&declarations, bundle));
        assert_true(declaration_admits(member + 2, "mail.service"));
        assert_false(declaration_admits(member + 2, "db.service"));
        declarations_clear(&declarations);
}

static void test_credentials_are_secrets_and_members(void **state) {
        static const char *const wanted[] = { "a", "db.one", "db.two", "z" };
        CredentialIterator at = {};
        Declarations declarations;

        put("local/secrets.d/a.secret", MINIMUM);
        put("local/secrets.d/db.secret", MINIMUM "Format=bundle\n[Member two]\n[Member one]\n");
        put("local/secrets.d/z.secret", MINIMUM);
        declarations = read_all();
        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                assert_string_equal(declarations_next_credential(&declarations, &at)->name, wanted[i]);
        assert_null(declarations_next_credential(&declarations, &at));
        assert_ptr_equal(declarations_find_credential(&declarations, "z"), declarations.items + 2);
        declarations_clear(&declarations);
}

static void test_a_bundle_that_delivers_otherwise_than_it_seems_is_refused(void **state) {
        bundle_refused("", ": Format=bundle delivers only members that are declared, and none is.");
        bundle_refused("[Member a]\n[Deliver]\nUnits=web.service",
                       ":7: Units=: A bundle is delivered by its members");
        bundle_refused("[Member a]\nUnits=web", ":6: Units=: Expected units such as");
        bundle_refused("[Member a]\nMode=0444", ":6: Mode=: Expected 0400 or 0440");
        bundle_refused("[Member]", ":5: [Member]: Expected [Member NAME] with letters");
        bundle_refused("[Member  a]", ":5: [Member  a]: Expected [Member NAME] with letters");
        bundle_refused("[Member .a]", ":5: [Member .a]: Expected [Member NAME] with letters");
        bundle_refused("[Member a/b]", ":5: [Member a/b]: Expected [Member NAME] with letters");
        refused("[Member a]\nUnits=web.service", "[Member a]: Only a bundle has members");
}

static void test_the_names_of_members_fit_and_are_free(void **state) {
#define LONG "a234567890123456789012345678901234567890123456789012345678901"
        Declarations declarations = accepted("Format=bundle\n[Member " LONG "]");

        assert_int_equal(strlen(declarations.items->members->name), 64);
        declarations_clear(&declarations);
        bundle_refused("[Member " LONG "b]", ":5: [Member " LONG "b]: Units get the member as \"db." LONG
                                             "b\", which has 65 characters");
        /* 64 and 19 bytes are the most for one address. */
        declarations = accepted("Format=bundle\n[Member " LONG
                                "]\nUnits=u2345678901.service w2345678901@*.service");
        declarations_clear(&declarations);
        bundle_refused("[Member " LONG "]\nUnits=u23456789012.service",
                       ":6: Units=: Expected no more than 83 bytes in the names of unit and credential together, not 84");

        put("local/secrets.d/db.secret", MINIMUM "Format=bundle\n[Member x]\n[Member a.b]\n");
        put("local/secrets.d/db.a.secret", MINIMUM "Format=bundle\n[Member c]\n");
        declarations = read_all();
        declarations_clear(&declarations);
        put("local/secrets.d/db.a.secret", MINIMUM "Format=bundle\n[Member b]\n");
        refused_text(MINIMUM "Format=bundle\n[Member x]\n[Member a.b]\n", "local/secrets.d/db");
        assert_int_equal(unlink("local/secrets.d/db.a.secret"), 0);
        put("local/secrets.d/db.x.secret", MINIMUM);
        refused_text(MINIMUM "Format=bundle\n[Member y]\n[Member x]\n",
                     "local/secrets.d/db.secret:6: [Member x]: The name of the credential, db.x, is taken: local/secrets.d/db.x.secret declares it, too.");
}

static void test_the_number_of_all_members_is_limited(void **state) {
        _cleanup_free_ char *text = malloc(4096 * 20 + 1024);
        Declarations declarations;
        int n;

        assert_non_null(text);
        n = sprintf(text, MINIMUM "Format=bundle\n");
        for (unsigned i = 0; i < 4096; i++)
                n += sprintf(text + n, "[Member m%04u]\n", i);
        put("local/secrets.d/db.secret", text);
        declarations = read_all();
        assert_int_equal(declarations.items->members_count, 4096);
        declarations_clear(&declarations);
        put("local/secrets.d/other.secret", MINIMUM "Format=bundle\n[Member x]\n");
        refused_text(text, "4097 members of bundles are declared in secrets.d/");
}

static void assert_another_digest(const uint8_t digest[static DECLARATION_DIGEST_SIZE], const char *lines) {
        Declarations declarations = accepted(lines);
        uint8_t other[DECLARATION_DIGEST_SIZE];

        assert_int_equal(declaration_digest(declarations.items, other), 0);
        if (memcmp(digest, other, sizeof(other)) == 0)
                fail_msg("<%s> has the same digest", lines);
        declarations_clear(&declarations);
}

static void test_digest_changes_with_the_members_and_their_rights(void **state) {
        Declarations declarations = accepted("Format=bundle\n[Member a]\n[Member b]"),
                     same = accepted("Format=bundle\n[Member b]\nMode=400\nDescription=x\n[Member a]");
        uint8_t digest[DECLARATION_DIGEST_SIZE], other[DECLARATION_DIGEST_SIZE];

        assert_int_equal(declaration_digest(declarations.items, digest), 0);
        assert_int_equal(declaration_digest(same.items, other), 0);
        assert_memory_equal(digest, other, sizeof(digest));
        declarations_clear(&declarations);
        declarations_clear(&same);
        assert_another_digest(digest, "Format=message");
        assert_another_digest(digest, "Format=bundle\n[Member a]");
        assert_another_digest(digest, "Format=bundle\n[Member a]\n[Member b]\n[Member c]");
        assert_another_digest(digest, "Format=bundle\n[Member a]\nUnits=b.service\n[Member b]");
        assert_another_digest(digest, "Format=bundle\n[Member a]\nStore=no\n[Member b]");
        assert_another_digest(digest, "Format=bundle\n[Member a]\nUser=web\n[Member b]");
        assert_another_digest(digest, "Format=bundle\n[Member a]\nGroup=web\n[Member b]");
        assert_another_digest(digest, "Format=bundle\n[Member a]\nMode=0440\n[Member b]");
        assert_another_digest(digest, "Format=bundle\n[Member a]\nOptional=yes\n[Member b]");
        assert_another_digest(digest, "Format=bundle\nAllowUncommitted=yes\n[Member a]\n[Member b]");
}

static void test_a_message_must_fit_into_the_store(void **state) {
        Declarations declarations = accepted("Format=message\nSizeMax=20M");
        Error error = {};

        assert_int_equal(declarations_judge(&declarations, &(Settings){ .store_size_max = 20 << 20 }, NULL,
                                            NULL, &error),
                         0);
        assert_int_equal(declarations_judge(&declarations, &(Settings){ .store_size_max = (20 << 20) - 1 },
                                            NULL, NULL, &error),
                         -EINVAL);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        if (!strstr(error.text,
                    ".secret: SizeMax= is more than all secrets together may have, which are 20971519 bytes"))
                fail_msg("%s", error.text);
        declarations_clear(&declarations);

        /* The default is no promise: what is there decides. */
        declarations = accepted("Format=message");
        assert_int_equal(declarations_judge(&declarations, &(Settings){ .store_size_max = 2 << 20 }, NULL,
                                            NULL, &error),
                         0);
        declarations_clear(&declarations);
}

static void test_the_pcr_that_is_locked_is_not_measured_into(void **state) {
        Declarations declarations = accepted("MeasurePcr=14");
        const Settings locks_14 = { .store_size_max = UINT64_MAX, .lock_pcr = 14 },
                       locks_15 = { .store_size_max = UINT64_MAX, .lock_pcr = 15 };
        Error error = {};

        assert_int_equal(declarations.items[0].measure_pcr, 14);
        assert_int_equal(declarations_judge(&declarations, &locks_15, NULL, NULL, &error), 0);
        assert_int_equal(declarations_judge(&declarations, &locks_14, NULL, NULL, &error), -EINVAL);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        if (!strstr(error.text, ".secret: MeasurePcr=14 is the PCR that LockPcr= of unseald.conf locks."))
                fail_msg("%s", error.text);
        declarations_clear(&declarations);

        declarations = accepted("MeasurePcr=14\nMeasurePcr=");
        assert_int_equal(declarations.items[0].measure_pcr, 0);
        assert_int_equal(declarations_judge(&declarations, &(Settings){}, NULL, NULL, &error), 0);
        declarations_clear(&declarations);
}

/* The mistake is in the second line, which is line 5. */
static void refused_delivery(const char *line, const char *expected) {
        _cleanup_free_ char *text = NULL, *wanted = NULL;

        assert_true(asprintf(&text, MINIMUM "[Deliver]\n%s\n", line) > 0);
        assert_true(asprintf(&wanted, "local/secrets.d/db.secret:5: %s", expected) > 0);
        refused_text(text, wanted);
}

static void test_booleans_are_checked(void **state) {
        refused("BindAccount=perhaps", "BindAccount=: Expected yes or no");
        refused_delivery("Store=perhaps", "Store=: Expected yes or no");
        refused("Optional=perhaps", "Optional=: Expected yes or no");
}

static void test_units_admit_the_units_they_name_or_all(void **state) {
        char billing[] = "billing.service", worker[] = "worker@1.service";
        char *units[] = { billing, worker, NULL }, *none[] = { NULL };
        const Declaration some = { .units = units }, any = { .units = none }, unset = {};

        assert_true(declaration_admits(&some, "billing.service"));
        assert_true(declaration_admits(&some, "worker@1.service"));
        assert_false(declaration_admits(&some, "worker@2.service"));
        assert_false(declaration_admits(&some, "billing"));
        assert_false(declaration_admits(&some, "billing.service2"));
        assert_false(declaration_admits(&some, ""));
        assert_true(declaration_admits(&any, "billing.service"));
        assert_true(declaration_admits(&unset, "billing.service"));
}

static void test_a_pattern_admits_the_instances_of_one_template(void **state) {
        static const struct {
                const char *unit;
                bool admitted;
        } cases[] = {
                { "worker@1.service", true },
                { "worker@a-b.service", true },
                { "worker@\\x2f.service", true },
                { "worker@x@y.service", true },
                { "worker@a.b.service", true },
                { "worker@x.service.service", true },
                /* the template itself */
                { "worker@.service", false },
                /* other prefixes */
                { "worker.service", false },
                { "workerx@1.service", false },
                { "xworker@1.service", false },
                { "work@1.service", false },
                { "worke@r@1.service", false },
                { "worker\\x40x.service", false },
                { "Worker@1.service", false },
                { "w@orker@1.service", false },
                /* other kinds, and no kind */
                { "worker@1.socket", false },
                { "worker@1.service.socket", false },
                { "worker@1.service2", false },
                { "worker@1", false },
                { "worker@service", false },
                { "worker@.", false },
                { "worker@", false },
                { "", false },
                /* the pattern itself is a name like others, and no unit has it */
                { "worker@*", false },
        };
        char pattern[] = "worker@*.service", *units[] = { pattern, NULL };
        const Declaration some = { .units = units };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                if (declaration_admits(&some, cases[i].unit) != cases[i].admitted)
                        fail_msg("'%s': saw %s, wanted the other", cases[i].unit,
                                 cases[i].admitted ? "refused" : "admitted");
}

static void test_a_pattern_stands_for_the_instance_alone(void **state) {
        static const char *const wrong[] = { "*.service",
                                             "*@*.service",
                                             "worker@*",
                                             "worker@*x.service",
                                             "worker@x*.service",
                                             "work*@*.service",
                                             "work*@1.service",
                                             "worker@*.*",
                                             "worker@*.service*",
                                             "@*.service",
                                             "worker@**.service",
                                             "worker@?.service",
                                             "worker@[0-9].service",
                                             "a@b@*.service",
                                             "worker@*.x.service" };
        Declarations declarations = accepted("[Deliver]\nUnits=worker@*.service a.service data@*.mount");

        assert_list(declarations.items[0].units, "|worker@*.service|a.service|data@*.mount");
        declarations_clear(&declarations);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *line = NULL;

                assert_true(asprintf(&line, "Units=%s", wrong[i]) > 0);
                refused_delivery(line, "Units=: Expected the pattern TEMPLATE@*.service, not");
        }
        refused_delivery("Units=worker@*.timer", "Units=: Expected the pattern TEMPLATE@*.service, not");
}

static void test_a_declaration_is_found_by_its_name(void **state) {
        char a[] = "a", b[] = "b";
        Declaration items[] = { { .name = a }, { .name = b } };
        const Declarations declarations = { .items = items, .count = 2 };

        assert_ptr_equal(declarations_find(&declarations, "b"), items + 1);
        assert_null(declarations_find(&declarations, "c"));
        assert_null(declarations_find(&(Declarations){}, "a"));
}

static void test_units_are_of_kinds_that_can_have_credentials(void **state) {
        static const char *const wrong[] = { "billing",         "billing.timer",      ".service",
                                             "worker@.service", "@1.service",         ".service",
                                             "a/b.service",     "a.service,b.service" };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *line = NULL;

                assert_true(asprintf(&line, "Units=%s", wrong[i]) > 0);
                refused_delivery(line,
                                 "Units=: Expected units such as billing.service or worker@1.service, not");
        }
        refused_delivery("Units='a", "Units=: Expected words");
}

static void test_owner_is_a_name(void **state) {
        static const char *const wrong[] = { "a b", "-a",  "0a",
                                             "0",   "a:b", "a2345678901234567890123456789012" };
        static const char *const right[] = { "_apt", "systemd-network", "Web_1" };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *user = NULL, *group = NULL;

                assert_true(asprintf(&user, "User=%s", wrong[i]) > 0);
                refused_delivery(user, "User=: Expected the name of a user, not");
                assert_true(asprintf(&group, "Group=%s", wrong[i]) > 0);
                refused_delivery(group, "Group=: Expected the name of a group, not");
        }
        for (size_t i = 0; i < ELEMENTSOF(right); i++) {
                _cleanup_free_ char *line = NULL;
                Declarations declarations;

                assert_true(asprintf(&line, "[Deliver]\nUser=%s", right[i]) > 0);
                declarations = accepted(line);
                assert_string_equal(declarations.items[0].user, right[i]);
                declarations_clear(&declarations);
        }
}

static void test_mode_gives_nobody_more_than_reading(void **state) {
        static const char *const wrong[] = { "0600", "0444",  "0500", "0404", "04400", "0",
                                             "4400", "0x100", "r",    "256",  "0040" };
        Declarations declarations;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *line = NULL;

                assert_true(asprintf(&line, "Mode=%s", wrong[i]) > 0);
                refused_delivery(line, "Mode=: Expected 0400 or 0440, not");
        }
        declarations = accepted("[Deliver]\nMode=440\nGroup=g\nMode=400");
        assert_int_equal(declarations.items[0].mode, 0400);
        declarations_clear(&declarations);
}

static void digest_of(const char *text, uint8_t ret[static DECLARATION_DIGEST_SIZE]) {
        Declarations declarations;

        put("local/secrets.d/db.secret", text);
        declarations = read_all();
        assert_int_equal(declarations.count, 1);
        assert_int_equal(declaration_digest(declarations.items, ret), 0);
        declarations_clear(&declarations);
}

static void test_digest_changes_with_every_key_that_decides_the_plaintext(void **state) {
        static const char *const others[] = {
                "[Secret]\nSource=file:/usr/share/db.sealed2\nKeyId=" KEY "\n",
                "[Secret]\nSource=credential:db.sealed\nKeyId=" KEY "\n",
                "[Secret]\nSource=s3://bucket-of-db/key\nKeyId=" KEY "\n",
                "[Secret]\nSource=s3://bucket-of-db/key?versionId=1\nKeyId=" KEY "\n",
                "[Secret]\nSource=s3://bucket-of-dbs/key\nKeyId=" KEY "\n",
                "[Secret]\nSource=secretsmanager:a\nKeyId=" KEY "\n",
                "[Secret]\nSource=secretsmanager:a#db\nKeyId=" KEY "\n",
                "[Secret]\nSource=secretsmanager:a#api\nKeyId=" KEY "\n",
                "[Secret]\nSource=s3://bucket-of-db/key\nSourceRegion=us-east-1\nKeyId=" KEY "\n",
                "[Secret]\nSource=file:/usr/share/db.sealed\nKeyId=" REPLICA "\n",
                MINIMUM "KeyId=" REPLICA "\n",
                MINIMUM "EncryptionContext=a=b c=d\n",
                MINIMUM "EncryptionContext=a=b\n",
                MINIMUM "BindAccount=yes\n",
                MINIMUM "Format=message\n",
                MINIMUM "Format=message\nAllowUncommitted=yes\n",
                MINIMUM "Sha256=" PIN "\n",
                MINIMUM "Sha256=" OTHER_PIN "\n",
                MINIMUM "Format=message\nSha256=" PIN "\n",
                MINIMUM "MeasurePcr=8\n",
                MINIMUM "MeasurePcr=15\n",
        };
        uint8_t digests[ELEMENTSOF(others) + 1][DECLARATION_DIGEST_SIZE];

        digest_of(MINIMUM, digests[0]);
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                digest_of(others[i], digests[i + 1]);
                for (size_t j = 0; j <= i; j++)
                        if (memcmp(digests[j], digests[i + 1], DECLARATION_DIGEST_SIZE) == 0)
                                fail_msg("<%s> has the digest of number %zu", others[i], j);
        }
}

static void test_digest_does_not_change_with_delivery(void **state) {
        uint8_t plain[DECLARATION_DIGEST_SIZE], other[DECLARATION_DIGEST_SIZE];

        digest_of(MINIMUM, plain);
        digest_of(MINIMUM "Optional=yes\nSizeMax=3000\nDescription=x\n"
                          "[Deliver]\nUnits=a.service\nUser=games\nGroup=games\nMode=0440\n",
                  other);
        assert_memory_equal(plain, other, sizeof(plain));
}

static EVP_PKEY *put_key(const char *path, EVP_PKEY *key) {
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *pem;
        long size;

        assert_non_null(key);
        assert_int_equal(PEM_write_bio_PUBKEY(bio, key), 1);
        size = BIO_get_mem_data(bio, &pem);
        assert_int_equal(write_file_atomic(path, pem, (size_t) size, 0644), 0);
        return key;
}

/* The lines of a declaration with this source and the key at this path below the test's directory. The caller frees. */
static char *signed_text(const char *root, const char *key, const char *source, const char *lines) {
        char *text = NULL;

        assert_true(asprintf(&text, "[Secret]\nSource=%s\nKeyId=" KEY "\nSignedBy=%s/%s\n%s", source, root,
                             key, lines) > 0);
        return text;
}

static void test_signature_lies_beside_a_source_that_has_a_name(void **state) {
        static const struct {
                const char *source, *lines, *location;
        } cases[] = {
                { "file:/usr/share/db.sealed", "", "/usr/share/db.sealed.sig" },
                { "https://example.com/a%20b/db", "", "https://example.com/a%20b/db.sig" },
                { "s3://bucket-of-db/a b", "", "a b.sig" },
                { "user-data:/secrets/db", "", "/secrets/db.sig" },
                { "user-data:", "Signature=user-data:/sig\n", "/sig" },
                { "ssm:/db", "Signature=ssm:/db-signature\n", "/db-signature" },
                { "secretsmanager:db", "Signature=file:/usr/share/db.sig\n", "/usr/share/db.sig" },
                { "file:/usr/share/db.sealed", "Signature=s3://bucket-of-db/x\n", "x" },
                { "file:/usr/share/db.sealed", "Signature=file:/x\nSignature=\n",
                  "/usr/share/db.sealed.sig" },
        };
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = put_key("vendor/key", EVP_EC_gen("P-256"));

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_free_ char *text =
                                signed_text(*state, "vendor/key", cases[i].source, cases[i].lines);
                Declarations declarations;
                Declaration *item;

                put("local/secrets.d/db.secret", text);
                declarations = read_all();
                item = declarations.items;
                assert_string_equal(item->signature.location, cases[i].location);
                assert_true(item->signature.is_signature);
                assert_false(item->source.is_signature);
                assert_int_equal(EVP_PKEY_eq(item->signing_key, key), 1);
                assert_int_equal(item->version_min, 0);
                declarations_clear(&declarations);
        }
}

static void test_signature_of_a_source_without_name_must_be_declared(void **state) {
        static const char *const sources[] = {
                "user-data:",
                "ssm:/db",
                "secretsmanager:db",
                "credential:db",
                "https://example.com/db?token=1",
                "s3://bucket-of-db/key?versionId=1",
        };
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = put_key("vendor/key", EVP_EC_gen("P-384"));

        for (size_t i = 0; i < ELEMENTSOF(sources); i++) {
                _cleanup_free_ char *text = signed_text(*state, "vendor/key", sources[i], "");

                refused_text(text,
                             "local/secrets.d/db.secret:4: SignedBy=: Where the signature lies is not known: ");
        }
        assert_non_null(key);
}

static void test_settings_of_signatures_that_protect_nothing_are_refused(void **state) {
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key =
                        put_key("vendor/key", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
        _cleanup_free_ char *emptied = NULL;

        refused("MinVersion=3", "MinVersion=: The setting needs SignedBy=");
        refused("MinVersion=0", "MinVersion=: The setting needs SignedBy=");
        refused("Signature=file:/sig", "Signature=: The setting needs SignedBy=");
        emptied = signed_text(*state, "vendor/key", "file:/db", "SignedBy=\nMinVersion=3\n");
        refused_text(emptied, "local/secrets.d/db.secret:6: MinVersion=: The setting needs SignedBy=");
        assert_non_null(key);
}

static void test_key_that_signs_nothing_is_refused(void **state) {
        static const struct {
                const char *line, *expected;
        } cases[] = {
                { "SignedBy=vendor/key", "SignedBy=: Expected an absolute path" },
                { "SignedBy=/usr/../key", "SignedBy=: Expected an absolute path" },
                { "SignedBy=/nonexistent/key",
                  "SignedBy=: The public key /nonexistent/key cannot be read: No such file" },
                { "SignedBy=/dev/null", "SignedBy=: " },
                { "SignedBy=/etc/passwd", "SignedBy=: /etc/passwd: Expected one public key in PEM" },
        };
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *rsa = put_key("vendor/key", EVP_RSA_gen(2048));
        _cleanup_free_ char *text = signed_text(*state, "vendor/key", "file:/db", ""), *expected = NULL;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                refused(cases[i].line, cases[i].expected);
        assert_true(asprintf(&expected,
                             "local/secrets.d/db.secret:4: SignedBy=: %s/vendor/key: Expected one public key in PEM, Ed25519 or ECDSA on P-256 or P-384. It is an RSA key.",
                             (char *) *state) > 0);
        refused_text(text, expected);
        assert_non_null(rsa);
}

static void test_smallest_version_is_a_number_of_64_bits(void **state) {
        static const char *const wrong[] = {
                "-1", "+1", "1.0", "0x1", "1 2", "ten", "18446744073709551616", "99999999999999999999999999"
        };
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = put_key("vendor/key", EVP_EC_gen("P-256"));

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_free_ char *line = NULL, *text = NULL;

                assert_true(asprintf(&line, "MinVersion=%s\n", wrong[i]) > 0);
                text = signed_text(*state, "vendor/key", "file:/db", line);
                refused_text(text, "local/secrets.d/db.secret:5: MinVersion=: Expected a whole number");
        }
        for (unsigned i = 0; i < 2; i++) {
                _cleanup_free_ char *text = signed_text(*state, "vendor/key", "file:/db",
                                                        i == 0 ? "MinVersion=18446744073709551615\n"
                                                               : "MinVersion=7\nMinVersion=\n");
                Declarations declarations;

                put("local/secrets.d/db.secret", text);
                declarations = read_all();
                assert_int_equal(declarations.items[0].version_min, i == 0 ? UINT64_MAX : 0);
                declarations_clear(&declarations);
        }
        assert_non_null(key);
}

/* By the digest a reload and a restart know whether the value is to stay. */
static void test_digest_changes_with_the_length_of_a_value_that_kms_makes(void **state) {
        static const char *const texts[] = {
                GENERATED,
                GENERATED "Generate=33\n",
                GENERATED "EncryptionContext=a=b\n",
                GENERATED "BindAccount=yes\n",
                "[Secret]\nGenerate=32\nKeyId=" KEY "0\n",
                MINIMUM,
        };
        static const char *const same[] = {
                GENERATED "Description=a value\n",
                GENERATED "GenerateWhen=always\n",
                GENERATED "[Deliver]\nMode=0440\nGroup=root\n",
        };
        uint8_t digests[ELEMENTSOF(texts)][DECLARATION_DIGEST_SIZE], digest[DECLARATION_DIGEST_SIZE];

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                digest_of(texts[i], digests[i]);
                for (size_t j = 0; j < i; j++)
                        if (memcmp(digests[i], digests[j], DECLARATION_DIGEST_SIZE) == 0)
                                fail_msg("numbers %zu and %zu have the same digest", i, j);
        }
        for (size_t i = 0; i < ELEMENTSOF(same); i++) {
                digest_of(same[i], digest);
                assert_memory_equal(digest, digests[0], sizeof(digest));
        }
}

/* A restart after an update must not publish what the new image would refuse. */
static void test_digest_changes_with_the_signer_and_the_smallest_version(void **state) {
        static const char *const lines[] = { "", "MinVersion=1\n", "MinVersion=2\n" };
        uint8_t digests[5][DECLARATION_DIGEST_SIZE], moved[DECLARATION_DIGEST_SIZE];
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = put_key("vendor/key", EVP_EC_gen("P-256")), *other = NULL;
        _cleanup_free_ char *elsewhere = NULL, *plain = NULL;

        for (size_t i = 0; i < ELEMENTSOF(lines); i++) {
                _cleanup_free_ char *text = signed_text(*state, "vendor/key", "file:/db", lines[i]);

                digest_of(text, digests[i]);
        }
        digest_of("[Secret]\nSource=file:/db\nKeyId=" KEY "\n", digests[3]);

        /* The control: the same key at another path, with its signature elsewhere, is the same rule. */
        assert_non_null(put_key("vendor/moved", key));
        elsewhere = signed_text(*state, "vendor/moved", "file:/db", "Signature=file:/elsewhere\n");
        digest_of(elsewhere, moved);
        assert_memory_equal(moved, digests[0], sizeof(moved));

        other = put_key("vendor/key", EVP_EC_gen("P-256"));
        plain = signed_text(*state, "vendor/key", "file:/db", "");
        digest_of(plain, digests[4]);
        for (size_t i = 0; i < ELEMENTSOF(digests); i++)
                for (size_t j = 0; j < i; j++)
                        if (memcmp(digests[i], digests[j], DECLARATION_DIGEST_SIZE) == 0)
                                fail_msg("numbers %zu and %zu have the same digest", i, j);
}

/* Without SignedBy= the digest is that of version 0.1.0, or an update of the package would drop all kept secrets. */
static void test_digest_of_an_unsigned_secret_is_that_of_the_first_release(void **state) {
        uint8_t digest[DECLARATION_DIGEST_SIZE];
        _cleanup_free_ char *hex = NULL;

        digest_of(MINIMUM "EncryptionContext=a=b\nBindAccount=yes\n", digest);
        assert_int_equal(hex_encode(digest, sizeof(digest), &hex), 0);
        assert_string_equal(hex, "2c34497a29b08f8c7059a7396c9e151d87e67f8ba994a211ff667d4dd490606f");
}

static void test_doubtful_lines_cause_a_warning(void **state) {
        char seen[2048] = "";
        FILE *file = tmpfile();
        int saved = dup(STDERR_FILENO);
        Declarations declarations;

        assert_non_null(file);
        assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
        declarations = accepted("Colour=blue\n[Deliver]\nMode=0440\nSource=file:/x\n[Other]\nMode=0777");
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        close(saved);
        rewind(file);
        assert_true(fread(seen, 1, sizeof(seen) - 1, file) > 0);
        fclose(file);

        assert_string_equal(declarations.items[0].source.location, "/usr/share/db.sealed");
        declarations_clear(&declarations);
        if (!strstr(seen, "db.secret:4: Colour=: Unknown key in section [Secret]") ||
            !strstr(seen,
                    "db.secret:7: Source=: Unknown key in section [Deliver]; unseald ignores the line. Did you mean Source= in section [Secret]?") ||
            !strstr(seen,
                    "db.secret:9: Mode=: Unknown section [Other]; unseald ignores the line. Did you mean Mode= in section [Deliver]?") ||
            !strstr(seen, "Mode=: A group may read the secret, but Group= is missing."))
                fail_msg("saw: %s", seen);
}

static void test_directory_that_cannot_be_read_is_an_error(void **state) {
        Declarations declarations;
        Error error = {};

        assert_int_equal(rmdir("vendor/secrets.d"), 0);
        put("vendor/secrets.d", "a file");
        assert_int_equal(declarations_read("vendor", "local", &declarations, &error), -ENOTDIR);
        assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        assert_string_equal(error.text, "vendor/secrets.d: cannot be read: Not a directory.");
}

static void test_a_file_can_be_read_by_itself(void **state) {
        static const struct {
                const char *path, *text, *expected;
        } wrong[] = {
                { "db", MINIMUM, "db: Expected a file name that ends in" },
                { "a b.secret", MINIMUM, "a b.secret: Expected a file name of 1 to 64" },
                { ".secret", MINIMUM, ".secret: Expected a file name of 1 to 64" },
                { "./none.secret", NULL, "./none.secret: cannot be read: No such file" },
                { "local/db.secret", "[Secret]\nSource=x\n", "local/db.secret:2: Source=:" },
                { "local/db.secret", "", "local/db.secret: Source= is missing" },
        };
        Declarations declarations = { .items = calloc(1, sizeof(Declaration)), .count = 1 };
        Declaration unread = {};
        Error error = {};

        /* It does not read drop-ins. */
        put("local/secrets.d/db.secret", MINIMUM);
        put("local/secrets.d/db.secret.d/10-optional.conf", "[Secret]\nOptional=yes\n");
        assert_int_equal(declaration_read_file("local/secrets.d/db.secret", declarations.items, &error), 0);
        assert_string_equal(declarations.items->name, "db");
        assert_string_equal(declarations.items->key_ids[0], KEY);
        assert_string_equal(declarations.items->encryption_context[0], "unseald:secret=db");
        assert_false(declarations.items->optional);
        declarations_clear(&declarations);

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                if (wrong[i].text)
                        put(wrong[i].path, wrong[i].text);
                if (declaration_read_file(wrong[i].path, &unread, &error) >= 0 ||
                    strncmp(error.text, wrong[i].expected, strlen(wrong[i].expected)) != 0)
                        fail_msg("%s: saw \"%s\", wanted it to begin with \"%s\"", wrong[i].path, error.text,
                                 wrong[i].expected);
                assert_int_equal(error.failure, FAILURE_CONFIGURATION);
        }
        assert_null(unread.name);
}

#define DIRECTORY_TEST(test) cmocka_unit_test_setup_teardown(test, make_directories, remove_directories)

int main(void) {
        const struct CMUnitTest tests[] = {
                DIRECTORY_TEST(test_smallest_declaration_has_safe_defaults),
                DIRECTORY_TEST(test_more_than_500_secrets_are_refused),
                DIRECTORY_TEST(test_every_key_is_read),
                DIRECTORY_TEST(test_drop_ins_add_replace_and_reset),
                DIRECTORY_TEST(test_secrets_of_both_directories_come_sorted_by_name),
                DIRECTORY_TEST(test_missing_keys_are_named),
                DIRECTORY_TEST(test_the_key_of_a_volume_is_made_once_and_bound_to_it),
                DIRECTORY_TEST(test_a_label_keeps_the_key_of_one_secret),
                DIRECTORY_TEST(test_a_value_that_kms_makes_has_no_source),
                DIRECTORY_TEST(test_digest_changes_with_the_length_of_a_value_that_kms_makes),
                DIRECTORY_TEST(test_names_are_those_of_credentials),
                DIRECTORY_TEST(test_key_is_pinned_by_its_arn),
                DIRECTORY_TEST(test_number_of_keys_is_bounded),
                DIRECTORY_TEST(test_encryption_context_binds_the_secrets_own_name),
                DIRECTORY_TEST(test_encryption_context_is_bounded),
                DIRECTORY_TEST(test_source_is_checked_with_file_and_line),
                DIRECTORY_TEST(test_region_and_size_of_a_source_are_checked),
                DIRECTORY_TEST(test_booleans_are_checked),
                DIRECTORY_TEST(test_a_message_has_a_range_and_pins_of_its_own),
                DIRECTORY_TEST(test_the_members_of_a_bundle_are_declared_with_their_rights),
                DIRECTORY_TEST(test_credentials_are_secrets_and_members),
                DIRECTORY_TEST(test_a_bundle_that_delivers_otherwise_than_it_seems_is_refused),
                DIRECTORY_TEST(test_the_names_of_members_fit_and_are_free),
                DIRECTORY_TEST(test_the_number_of_all_members_is_limited),
                DIRECTORY_TEST(test_digest_changes_with_the_members_and_their_rights),
                DIRECTORY_TEST(test_a_message_must_fit_into_the_store),
                DIRECTORY_TEST(test_the_pcr_that_is_locked_is_not_measured_into),
                cmocka_unit_test(test_units_admit_the_units_they_name_or_all),
                cmocka_unit_test(test_a_pattern_admits_the_instances_of_one_template),
                DIRECTORY_TEST(test_a_pattern_stands_for_the_instance_alone),
                cmocka_unit_test(test_a_declaration_is_found_by_its_name),
                DIRECTORY_TEST(test_units_are_of_kinds_that_can_have_credentials),
                DIRECTORY_TEST(test_owner_is_a_name),
                DIRECTORY_TEST(test_mode_gives_nobody_more_than_reading),
                DIRECTORY_TEST(test_digest_changes_with_every_key_that_decides_the_plaintext),
                DIRECTORY_TEST(test_digest_does_not_change_with_delivery),
                DIRECTORY_TEST(test_signature_lies_beside_a_source_that_has_a_name),
                DIRECTORY_TEST(test_signature_of_a_source_without_name_must_be_declared),
                DIRECTORY_TEST(test_settings_of_signatures_that_protect_nothing_are_refused),
                DIRECTORY_TEST(test_key_that_signs_nothing_is_refused),
                DIRECTORY_TEST(test_smallest_version_is_a_number_of_64_bits),
                DIRECTORY_TEST(test_digest_changes_with_the_signer_and_the_smallest_version),
                DIRECTORY_TEST(test_digest_of_an_unsigned_secret_is_that_of_the_first_release),
                DIRECTORY_TEST(test_doubtful_lines_cause_a_warning),
                DIRECTORY_TEST(test_directory_that_cannot_be_read_is_an_error),
                DIRECTORY_TEST(test_a_file_can_be_read_by_itself),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
