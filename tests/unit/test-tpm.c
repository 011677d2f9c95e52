/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Runs against a software TPM: swtpm, on a libtpms with NitroTPM's command that is built beside this program. A thread of
 * this program plays the module behind that command. libtpms also asks it before every command; it can then answer an
 * error in the command's place, or kill the client.
 */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
/* cmocka.h needs the headers above. */
#include <cmocka.h>

#include <dlfcn.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <tss2/tss2_esys.h>
#include <tss2/tss2_tctildr.h>

#include "basic/encoding.h"
#include "basic/io.h"
#include "basic/log.h"
#include "tests/platform/nitrotpm/wire.h"
#include "tpm/tpm.h"

#define FIRST_HANDLE UINT32_C(0x01805ea0) /* the first that tpm.c uses */
#define NSM_REQUEST_CC UINT32_C(0x20000001)

#define NO_SESSION ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE
#define PASSWORD ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE

#define COMMANDS_MAX 4096

/* The responder's orders, and the commands that it has seen. */
static struct Plan {
        pthread_mutex_t mutex;
        size_t seen; /* number of commands */
        uint32_t codes[COMMANDS_MAX];
        size_t fail_from, fail_count; /* the commands that fail */
        uint32_t fail_code;           /* only this command fails among them; 0: all */
        uint32_t fault;
        size_t kill_at;     /* the command that kills victim; SIZE_MAX: none */
        uint32_t kill_code; /* the same by command code; 0: none */
        pid_t victim;
        uint8_t index[RESPONDER_INDEX_MAX]; /* its content when the module read it */
        uint8_t reply[RESPONDER_INDEX_MAX];
        uint32_t reply_size;
} plan = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static char directory[] = "/tmp/unseald-test-tpm-XXXXXX";
static char library_path[PATH_MAX], tcti[PATH_MAX + 16];
static int responder_fd = -1;
static pthread_t responder;
static pid_t swtpm;

static void path_in_directory(const char *name, char ret[static PATH_MAX]) {
        assert_true(snprintf(ret, PATH_MAX, "%s/%s", directory, name) < PATH_MAX);
}

static int listen_at(const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char path[PATH_MAX];
        int fd;

        path_in_directory(name, path);
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (const struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(fd, 4), 0);
        return fd;
}

static int connect_to(const char *name) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char path[PATH_MAX];
        int fd;

        path_in_directory(name, path);
        strcpy(address.sun_path, path);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0) {
                close(fd);
                return -1;
        }
        return fd;
}

static bool receive_all(int fd, void *data, size_t size) {
        return size == 0 || recv(fd, data, size, MSG_WAITALL) == (ssize_t) size;
}

static uint32_t plan_command(uint32_t code) {
        size_t n = plan.seen++;

        if (n < COMMANDS_MAX)
                plan.codes[n] = code;
        if (n == plan.kill_at || (plan.kill_code != 0 && code == plan.kill_code))
                (void) kill(plan.victim, SIGKILL);
        if (n < plan.fail_from || n - plan.fail_from >= plan.fail_count)
                return 0;
        return plan.fail_code == 0 || plan.fail_code == code ? plan.fault : 0;
}

static bool answer(int fd) {
        uint8_t pcrs[RESPONDER_PCRS * RESPONDER_PCR_SIZE];
        ResponderHeader header;
        uint32_t number;
        bool sent = false;

        if (!receive_all(fd, &header, sizeof(header)))
                return false;
        pthread_mutex_lock(&plan.mutex);
        switch ((ResponderQuestion) header.question) {
        case RESPONDER_FAULT:
                number = plan_command(header.argument);
                sent = send(fd, &number, sizeof(number), MSG_NOSIGNAL) == sizeof(number);
                break;
        case RESPONDER_ATTEST:
                number = plan.reply_size;
                sent = header.argument <= sizeof(plan.index) &&
                       receive_all(fd, plan.index, header.argument) && receive_all(fd, pcrs, sizeof(pcrs)) &&
                       send(fd, &number, sizeof(number), MSG_NOSIGNAL) == sizeof(number) &&
                       send(fd, plan.reply, number, MSG_NOSIGNAL) == (ssize_t) number;
                break;
        }
        pthread_mutex_unlock(&plan.mutex);
        return sent;
}

static void *respond(void *userdata) {
        int fd;

        while ((fd = accept4(responder_fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                while (answer(fd))
                        ;
                close(fd);
        }
        return NULL;
}

static const uint8_t document_head[] = "\xa1\x6b"
                                       "Attestation\xa1\x68"
                                       "document\x59";
#define HEAD_SIZE (sizeof(document_head) - 1)

/* Each byte of the document is its position. */
static void plan_document(size_t size) {
        memset(plan.reply, 0, sizeof(plan.reply));
        memcpy(plan.reply, document_head, HEAD_SIZE);
        plan.reply[HEAD_SIZE] = (uint8_t) (size >> 8);
        plan.reply[HEAD_SIZE + 1] = (uint8_t) size;
        plan.reply_size = (uint32_t) (HEAD_SIZE + 2 + size);
        for (size_t i = 0; i < size; i++)
                plan.reply[HEAD_SIZE + 2 + i] = (uint8_t) i;
}

/* Ends all faults and counts commands from 0 again. */
static void plan_reset(void) {
        pthread_mutex_lock(&plan.mutex);
        plan.seen = plan.fail_from = plan.fail_count = 0;
        plan.fail_code = plan.kill_code = 0;
        plan.kill_at = SIZE_MAX;
        plan_document(4900);
        pthread_mutex_unlock(&plan.mutex);
}

static void plan_fault(uint32_t code, uint32_t fault, size_t from, size_t count) {
        pthread_mutex_lock(&plan.mutex);
        plan.fail_code = code;
        plan.fault = fault;
        plan.fail_from = from;
        plan.fail_count = count;
        pthread_mutex_unlock(&plan.mutex);
}

static pid_t spawn(const char *const *arguments, bool nitro) {
        char socket_path[PATH_MAX], log_path[PATH_MAX];
        pid_t pid;

        path_in_directory("nsm", socket_path);
        path_in_directory("swtpm.log", log_path);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (library_path[0])
                        (void) setenv("LD_LIBRARY_PATH", library_path, true);
                if (nitro)
                        (void) setenv("NITROTPM_NSM_SOCKET", socket_path, true);
                (void) dup2(open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600), STDERR_FILENO);
                execvp(arguments[0], (char *const *) arguments);
                _exit(127);
        }
        return pid;
}

static void start_swtpm(const char *state, bool nitro) {
        char state_option[PATH_MAX + 4], server[PATH_MAX + 32], control[PATH_MAX + 32], path[PATH_MAX];
        int fd;
        const char *const arguments[] = {
                "swtpm",
                "socket",
                "--tpm2",
                "--tpmstate",
                state_option,
                "--server",
                server,
                "--ctrl",
                control,
                "--flags",
                "not-need-init,startup-clear",
                NULL,
        };

        path_in_directory(state, path);
        (void) mkdir(path, 0700);
        snprintf(state_option, sizeof(state_option), "dir=%s", path);
        path_in_directory("tpm", path);
        (void) unlink(path);
        snprintf(server, sizeof(server), "type=unixio,path=%s", path);
        snprintf(control, sizeof(control), "type=unixio,path=%s.ctrl", path);
        snprintf(tcti, sizeof(tcti), "swtpm:path=%s", path);

        swtpm = spawn(arguments, nitro);
        for (unsigned i = 0; (fd = connect_to("tpm")) < 0; i++) {
                assert_true(i < 3000);
                assert_int_equal(waitpid(swtpm, NULL, WNOHANG), 0);
                usleep(10000);
        }
        close(fd);
}

/* The TPM as other programs use it. */
typedef struct Other {
        TSS2_TCTI_CONTEXT *tcti;
        ESYS_CONTEXT *esys;
} Other;

static void other_open(Other *other) {
        assert_int_equal(Tss2_TctiLdr_Initialize(tcti, &other->tcti), 0);
        assert_int_equal(Esys_Initialize(&other->esys, other->tcti, NULL), 0);
}

static void other_close(Other *other) {
        Esys_Finalize(&other->esys);
        Tss2_TctiLdr_Finalize(&other->tcti);
}

/* Ends the TPM with TPM2_Shutdown. Without it, a TPM that used an index with an authorization counts an attack. */
static void stop_swtpm(void) {
        Other other;

        other_open(&other);
        assert_int_equal(Esys_Shutdown(other.esys, NO_SESSION, TPM2_SU_CLEAR), 0);
        other_close(&other);
        assert_int_equal(kill(swtpm, SIGTERM), 0);
        assert_int_equal(waitpid(swtpm, NULL, 0), swtpm);
}

typedef struct Handles {
        TPM2_HANDLE handle[256];
        size_t n;
} Handles;

/* All objects in the TPM: NV indices, loaded and saved sessions, transient and persistent keys. */
static Handles list_handles(void) {
        static const TPM2_HANDLE firsts[] = { 0x01000000, 0x02000000, 0x03000000, 0x80000000, 0x81000000 };
        Handles handles = {};
        Other other;

        other_open(&other);
        for (size_t i = 0; i < ELEMENTSOF(firsts); i++) {
                TPMS_CAPABILITY_DATA *data;
                TPMI_YES_NO more;

                assert_int_equal(Esys_GetCapability(other.esys, NO_SESSION, TPM2_CAP_HANDLES, firsts[i], 254,
                                                    &more, &data),
                                 0);
                for (size_t j = 0; j < data->data.handles.count; j++)
                        handles.handle[handles.n++] = data->data.handles.handle[j];
                Esys_Free(data);
        }
        other_close(&other);
        return handles;
}

static void assert_handles(const Handles *wanted, const char *when, size_t n) {
        Handles seen = list_handles();

        if (seen.n == wanted->n && memcmp(seen.handle, wanted->handle, seen.n * sizeof(seen.handle[0])) == 0)
                return;
        print_message("%s %zu, wanted %zu handles in the TPM, saw %zu:\n", when, n, wanted->n, seen.n);
        for (size_t i = 0; i < seen.n; i++)
                print_message("  0x%08x\n", seen.handle[i]);
        fail();
}

static void assert_error(const Error *error, Failure failure, Remedy remedy, const char *text) {
        if (error->failure == failure && error->remedy == remedy && strstr(error->text, text))
                return;
        fail_msg("saw failure %i, remedy %i: %s\nwanted failure %i, remedy %i, and in the text: %s",
                 error->failure, error->remedy, error->text, failure, remedy, text);
}

static const uint8_t public_key[294];
static const NsmRequest request = { .public_key = { public_key, sizeof(public_key) } };

static Tpm *open_tpm(void) {
        Tpm *tpm;
        Error error;

        if (tpm_open(tcti, &tpm, &error) < 0)
                fail_msg("%s", error.text);
        return tpm;
}

static void attest(Tpm *tpm, size_t wanted_size) {
        _cleanup_free_ uint8_t *document = NULL;
        Error error = {};
        size_t size;

        if (tpm_attest(tpm, &request, &document, &size, &error) < 0)
                fail_msg("%s", error.text);
        assert_string_equal(error.text, "");
        assert_int_equal(size, wanted_size);
        assert_memory_equal(document, plan.reply + HEAD_SIZE + 2, size);
}

/* wanted: a negative errno, or 0 for any. */
static void attest_fails(Tpm *tpm, int wanted, Failure failure, Remedy remedy, const char *text) {
        uint8_t *document = NULL;
        Error error = {};
        size_t size;
        int r;

        r = tpm_attest(tpm, &request, &document, &size, &error);
        assert_null(document);
        if (r >= 0 || (wanted != 0 && r != wanted))
                fail_msg("saw %i (%s), wanted %i", r, error.text, wanted);
        assert_error(&error, failure, remedy, text);
}

static void test_document_is_obtained_and_nothing_is_left(void **state) {
        Handles before = list_handles();
        Tpm *tpm = open_tpm();
        unsigned leftovers = 4711;
        size_t seen;
        Error error;

        assert_int_equal(tpm_prepare(tpm, &leftovers, &error), 0);
        assert_int_equal(leftovers, 0);
        attest(tpm, 4900);
        seen = plan.seen;
        assert_null(tpm_close(tpm));
        assert_int_equal(plan.seen, seen); /* tpm_close() had nothing to remove */
        assert_handles(&before, "after", 1);
}

static void test_hundred_documents_in_a_row(void **state) {
        Handles before = list_handles();
        Tpm *tpm = open_tpm();

        for (unsigned i = 0; i < 100; i++)
                attest(tpm, 4900);
        tpm_close(tpm);
        assert_handles(&before, "after", 100);
}

static void test_unused_preparations_are_removed(void **state) {
        Handles before = list_handles();
        Tpm *tpm = open_tpm();
        Error error;

        assert_int_equal(tpm_prepare(tpm, NULL, &error), 0);
        assert_int_equal(tpm_prepare(tpm, NULL, &error), 0);
        tpm_close(tpm);
        assert_handles(&before, "after", 0);
}

static void test_request_arrives_and_replies_of_any_length_come_back(void **state) {
        static const size_t sizes[] = { 1, 998, 999, 1000, 2023, 4900, NSM_INDEX_SIZE - HEAD_SIZE - 2 };
        static uint8_t field[NSM_FIELD_MAX];
        const NsmRequest longest = {
                .user_data = { field, sizeof(field) },
                .nonce = { field, sizeof(field) },
                .public_key = { field, sizeof(field) },
        };
        uint8_t encoded[NSM_REQUEST_MAX];
        Tpm *tpm = open_tpm();
        size_t encoded_size;

        for (size_t i = 0; i < sizeof(field); i++)
                field[i] = (uint8_t) (i >> 2);
        assert_int_equal(nsm_request_encode(&longest, encoded, &encoded_size), 0);

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                _cleanup_free_ uint8_t *document = NULL;
                Error error = {};
                size_t size;

                plan_document(sizes[i]);
                if (tpm_attest(tpm, &longest, &document, &size, &error) < 0)
                        fail_msg("%zu bytes: %s", sizes[i], error.text);
                assert_int_equal(size, sizes[i]);
                assert_memory_equal(document, plan.reply + HEAD_SIZE + 2, size);
                assert_memory_equal(plan.index, encoded, encoded_size);
        }
        tpm_close(tpm);
}

static void test_request_that_is_too_long_is_refused(void **state) {
        static const uint8_t field[NSM_FIELD_MAX + 1];
        const NsmRequest too_long = { .nonce = { field, sizeof(field) } };
        Tpm *tpm = open_tpm();
        uint8_t *document;
        size_t size;
        Error error;

        assert_int_equal(tpm_attest(tpm, &too_long, &document, &size, &error), -E2BIG);
        assert_error(&error, FAILURE_ATTESTATION, REMEDY_NONE, "1024");
        tpm_close(tpm);
}

static void test_nsm_error_is_passed_on(void **state) {
        static const char reply[] = "\xa1\x65"
                                    "Error\x6d"
                                    "InternalError";
        Handles before = list_handles();
        Tpm *tpm = open_tpm();

        memcpy(plan.reply, reply, sizeof(reply));
        plan.reply_size = sizeof(reply) - 1;
        attest_fails(tpm, -EREMOTEIO, FAILURE_ATTESTATION, REMEDY_RETRY, "InternalError");
        plan.reply[0] = 0xff;
        attest_fails(tpm, -EBADMSG, FAILURE_ATTESTATION, REMEDY_NONE, "neither");
        tpm_close(tpm);
        assert_handles(&before, "after", 0);
}

/* tpm.c logs a wrong HMAC to standard error, which must stay empty. */
static void test_response_of_the_attestation_command_is_authenticated(void **state) {
        _cleanup_close_ int saved = dup(STDERR_FILENO), log = -1;
        char path[PATH_MAX];
        Tpm *tpm = open_tpm();

        path_in_directory("log", path);
        log = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(log >= 0 && saved >= 0);
        log_set_max_priority(LOG_DEBUG);
        assert_true(dup2(log, STDERR_FILENO) >= 0);
        attest(tpm, 4900);
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        log_set_max_priority(LOG_INFO);
        assert_int_equal(lseek(log, 0, SEEK_END), 0);
        tpm_close(tpm);
}

/* The number of commands that a document takes, from opening the TPM to closing it. */
static size_t count_commands(void) {
        Tpm *tpm;
        size_t n;

        plan_reset();
        tpm = open_tpm();
        attest(tpm, 4900);
        tpm_close(tpm);
        n = plan.seen;
        plan_reset();
        return n;
}

static void test_any_command_may_fail_and_nothing_is_left(void **state) {
        static const uint32_t faults[] = { TPM2_RC_FAILURE, TPM2_RC_VALUE, TPM2_RC_MEMORY,
                                           TPM2_RC_SESSION_MEMORY };
        size_t n = count_commands();
        Handles before = list_handles();
        unsigned failed = 0;

        for (size_t f = 0; f < ELEMENTSOF(faults); f++)
                for (size_t i = 0; i < n; i++) {
                        _cleanup_free_ uint8_t *document = NULL;
                        Error error = {};
                        size_t size;
                        Tpm *tpm;

                        plan_reset();
                        plan_fault(0, faults[f], i, 1);
                        tpm = open_tpm();
                        if (tpm_attest(tpm, &request, &document, &size, &error) < 0) {
                                assert_null(document);
                                assert_int_equal(error.failure, FAILURE_TPM);
                                failed++;
                        }
                        tpm_close(tpm);
                        plan_reset();
                        assert_handles(&before, "after a fault in command", i);
                }
        assert_true(failed > 40);
}

/* Even the removal of objects fails. Then the same Tpm is used again. */
static void test_any_command_may_fail_from_there_on_and_the_next_call_works(void **state) {
        size_t n = count_commands();
        Handles before = list_handles();

        for (size_t i = 0; i < n; i++) {
                _cleanup_free_ uint8_t *document = NULL;
                Error error = {};
                size_t size;
                Tpm *tpm;

                plan_reset();
                tpm = open_tpm();
                plan_fault(0, TPM2_RC_RETRY, i, SIZE_MAX);
                if (tpm_attest(tpm, &request, &document, &size, &error) < 0) {
                        assert_error(&error, FAILURE_TPM, REMEDY_RETRY, "busy");
                        assert_null(document);
                }
                plan_reset();
                attest(tpm, 4900);
                tpm_close(tpm);
                assert_handles(&before, "after faults from command", i);
        }
}

static void test_busy_tpm_is_asked_again_a_few_times(void **state) {
        Tpm *tpm = open_tpm();

        plan_fault(NSM_REQUEST_CC, TPM2_RC_RETRY, 0, SIZE_MAX);
        attest_fails(tpm, -EAGAIN, FAILURE_TPM, REMEDY_RETRY, "run the attestation command: it is busy (");
        plan_fault(TPM2_CC_CreatePrimary, TPM2_RC_TESTING, 0, SIZE_MAX);
        attest_fails(tpm, -EAGAIN, FAILURE_TPM, REMEDY_RETRY,
                     "create a key in the endorsement hierarchy: it is testing itself (");

        for (size_t i = 0; i < 4; i++) {
                plan_fault(0, i % 2 ? TPM2_RC_YIELDED : TPM2_RC_RETRY, plan.seen + 2 * i, 1 + i);
                attest(tpm, 4900);
        }
        tpm_close(tpm);
}

/* tests/integration/power-cut.sh looks at the TPM's count of wrong authorizations. */
static void test_use_of_the_index_always_ends_with_a_shutdown(void **state) {
        Tpm *tpm = open_tpm();

        attest(tpm, 4900);
        assert_int_equal(plan.codes[plan.seen - 1], TPM2_CC_Shutdown);
        plan_fault(NSM_REQUEST_CC, TPM2_RC_FAILURE, 0, SIZE_MAX);
        attest_fails(tpm, 0, FAILURE_TPM, REMEDY_NONE, "run the attestation command");
        assert_int_equal(plan.codes[plan.seen - 1], TPM2_CC_Shutdown);
        plan_fault(TPM2_CC_Shutdown, TPM2_RC_COMMAND_CODE, 0, SIZE_MAX);
        attest(tpm, 4900);
        tpm_close(tpm);
}

static void test_errors_say_what_to_do(void **state) {
        static const struct {
                uint32_t command, fault;
                int r;
                Failure failure;
                Remedy remedy;
                const char *text;
        } cases[] = {
                { TPM2_CC_CreatePrimary, TPM2_RC_HIERARCHY | TPM2_RC_H | TPM2_RC_1, -EACCES, FAILURE_TPM,
                  REMEDY_NONE, "endorsement hierarchy: a program has disabled that hierarchy" },
                { TPM2_CC_CreatePrimary, TPM2_RC_OBJECT_MEMORY, -ENOSPC, FAILURE_TPM, REMEDY_RETRY,
                  "tpm2_flushcontext" },
                { TPM2_CC_StartAuthSession, TPM2_RC_SESSION_HANDLES, -ENOSPC, FAILURE_TPM, REMEDY_RETRY,
                  "tpm2_flushcontext" },
                { TPM2_CC_NV_DefineSpace, TPM2_RC_BAD_AUTH | TPM2_RC_S | TPM2_RC_1, -EACCES, FAILURE_TPM,
                  REMEDY_NONE, "owner hierarchy: that hierarchy has an authorization value" },
                { TPM2_CC_NV_DefineSpace, TPM2_RC_NV_SPACE, -ENOSPC, FAILURE_TPM, REMEDY_NONE,
                  "tpm2_nvundefine" },
                { TPM2_CC_NV_Write, TPM2_RC_LOCKOUT, -EACCES, FAILURE_TPM, REMEDY_NONE, "--clear-lockout" },
                { TPM2_CC_NV_Write, TPM2_RC_NV_RATE, -EAGAIN, FAILURE_TPM, REMEDY_RETRY, "rate" },
                { NSM_REQUEST_CC, TPM2_RC_COMMAND_CODE, -EOPNOTSUPP, FAILURE_NOT_NITRO, REMEDY_NONE,
                  "not a NitroTPM" },
                { NSM_REQUEST_CC, 0xb0000 | TPM2_RC_COMMAND_CODE, -EOPNOTSUPP, FAILURE_TPM, REMEDY_NONE,
                  "device:/dev/tpm0" },
                { NSM_REQUEST_CC, TPM2_RC_NV_UNAVAILABLE, -EIO, FAILURE_TPM, REMEDY_RETRY, "0x923" },
                { NSM_REQUEST_CC, TPM2_RC_REFERENCE_S0, -EIO, FAILURE_TPM, REMEDY_RETRY, "0x918" },
                { TPM2_CC_NV_Read, TPM2_RC_FAILURE, -EIO, FAILURE_TPM, REMEDY_NONE, "0x101" },
        };
        Handles before = list_handles();

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Tpm *tpm = open_tpm();

                plan_fault(cases[i].command, cases[i].fault, 0, SIZE_MAX);
                attest_fails(tpm, cases[i].r, cases[i].failure, cases[i].remedy, cases[i].text);
                plan_reset();
                tpm_close(tpm);
                assert_handles(&before, "after case", i);
        }
}

/* Stands between client and swtpm, and damages the response to one command. tpm2-tss connects anew for each. */
static struct Proxy {
        int fd;
        size_t seen, spoil_at;
        size_t flip; /* the byte of the response that changes; SIZE_MAX: the response is lost */
} proxy;

/* The size stands at the same place in commands and responses. */
static size_t receive_message(int fd, uint8_t message[static 4096]) {
        size_t size;

        if (!receive_all(fd, message, 10))
                return 0;
        size = (size_t) message[4] << 8 | message[5];
        return size >= 10 && size <= 4096 && receive_all(fd, message + 10, size - 10) ? size : 0;
}

static void pass_on(int client) {
        _cleanup_close_ int server = connect_to("tpm");
        uint8_t message[4096];
        size_t size, n;

        size = receive_message(client, message);
        if (size == 0 || send(server, message, size, MSG_NOSIGNAL) != (ssize_t) size)
                return;
        size = receive_message(server, message);
        n = proxy.seen++;
        if (n == proxy.spoil_at && proxy.flip >= size)
                return;
        if (n == proxy.spoil_at)
                message[proxy.flip] ^= 0x10;
        (void) send(client, message, size, MSG_NOSIGNAL);
}

static void *run_proxy(void *userdata) {
        int fd;

        while ((fd = accept4(proxy.fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
                pass_on(fd);
                close(fd);
        }
        return NULL;
}

/* The document is right, or there is an error. A changed response with an HMAC is refused; one without leads to an error
 * later. Only the HMAC of the vendor command's response does not count. */
static void attest_with_damaged_response(const char *name, size_t at, size_t flip) {
        _cleanup_free_ uint8_t *document = NULL;
        Error error = {};
        size_t size;
        Tpm *tpm;

        proxy = (struct Proxy){ .fd = proxy.fd, .spoil_at = at, .flip = flip };
        assert_int_equal(tpm_open(name, &tpm, NULL), 0);
        if (tpm_attest(tpm, &request, &document, &size, &error) >= 0) {
                assert_int_equal(size, 4900);
                assert_memory_equal(document, plan.reply + HEAD_SIZE + 2, size);
        } else
                assert_true(error.text[0]);
        tpm_close(tpm);
}

static void test_any_response_may_be_lost_or_damaged_and_nothing_is_left(void **state) {
        static const size_t flips[] = { SIZE_MAX, 5, 8, 13, 20, 60, 100, 200 };
        char name[sizeof(tcti) + 8], control[PATH_MAX], link[PATH_MAX];
        size_t n = count_commands();
        Handles before = list_handles();
        pthread_t thread;

        proxy.fd = listen_at("proxy");
        path_in_directory("tpm.ctrl", control);
        path_in_directory("proxy.ctrl", link);
        assert_int_equal(symlink(control, link), 0);
        assert_true(snprintf(name, sizeof(name), "swtpm:path=%s/proxy", directory) < (int) sizeof(name));
        assert_int_equal(pthread_create(&thread, NULL, run_proxy, NULL), 0);

        for (size_t f = 0; f < ELEMENTSOF(flips); f++)
                for (size_t i = 0; i < n; i++) {
                        attest_with_damaged_response(name, i, flips[f]);
                        assert_handles(&before, "after spoiling response", 1000 * f + i);
                }

        assert_int_equal(shutdown(proxy.fd, SHUT_RDWR), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        close(proxy.fd);
}

/* Starts a client, which will be killed, and returns its process ID. */
static pid_t fork_client(void) {
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                _cleanup_free_ uint8_t *document = NULL;
                size_t size;
                Tpm *tpm;

                if (tpm_open(tcti, &tpm, NULL) < 0 || tpm_attest(tpm, &request, &document, &size, NULL) < 0)
                        _exit(EXIT_FAILURE);
                tpm_close(tpm);
                _exit(EXIT_SUCCESS);
        }
        return pid;
}

static unsigned clean_up(const Handles *before, const char *when, size_t n) {
        Tpm *tpm = open_tpm();
        unsigned leftovers;
        Error error;

        if (tpm_prepare(tpm, &leftovers, &error) < 0)
                fail_msg("%s %zu: %s", when, n, error.text);
        tpm_close(tpm);
        assert_handles(before, when, n);
        return leftovers;
}

static void test_next_process_removes_all_after_a_kill_at_any_command(void **state) {
        size_t n = count_commands();
        Handles before = list_handles();
        unsigned leftovers = 0;

        for (size_t i = 0; i < n; i++) {
                int status;

                plan_reset();
                pthread_mutex_lock(&plan.mutex);
                plan.kill_at = i;
                plan.victim = fork_client();
                pthread_mutex_unlock(&plan.mutex);
                assert_int_equal(waitpid(plan.victim, &status, 0), plan.victim);
                /* After a TPM2_Shutdown, the TPM answers the first use of an index with TPM_RC_RETRY. If the process before
                 * was killed before its TPM2_Shutdown, this one needs one command less. */
                assert_true(WIFSIGNALED(status) || i == n - 1);
                plan_reset();
                leftovers += clean_up(&before, "after a kill at command", i);
        }
        assert_true(leftovers > n);
}

static void test_next_process_removes_all_after_a_kill_at_any_time(void **state) {
        Handles before = list_handles();

        srandom(20261122);
        for (size_t i = 0; i < 40; i++) {
                pid_t pid;

                plan_reset();
                pid = fork_client();
                usleep((useconds_t) (random() % 60000));
                (void) kill(pid, SIGKILL);
                assert_int_equal(waitpid(pid, NULL, 0), pid);
                (void) clean_up(&before, "after kill", i);
        }
}

#define AES_128_CFB \
        { .algorithm = TPM2_ALG_AES, .keyBits.aes = 128, .mode.aes = TPM2_ALG_CFB }

static const TPM2B_SENSITIVE_CREATE no_sensitive;
static const TPM2B_DATA no_data;
static const TPML_PCR_SELECTION no_pcrs;

/* A storage key of another program. */
static ESYS_TR other_create_key(Other *other) {
        const TPM2B_PUBLIC template = {
                .publicArea = {
                        .type = TPM2_ALG_ECC,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
                                            TPMA_OBJECT_SENSITIVEDATAORIGIN | TPMA_OBJECT_USERWITHAUTH |
                                            TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT,
                        .parameters.eccDetail = {
                                .symmetric = AES_128_CFB,
                                .scheme.scheme = TPM2_ALG_NULL,
                                .curveID = TPM2_ECC_NIST_P256,
                                .kdf.scheme = TPM2_ALG_NULL,
                        },
                },
        };
        ESYS_TR key;

        assert_int_equal(Esys_CreatePrimary(other->esys, ESYS_TR_RH_OWNER, PASSWORD, &no_sensitive,
                                            &template, &no_data, &no_pcrs, &key, NULL, NULL, NULL, NULL),
                         0);
        return key;
}

static TPM2_RC other_define_index(Other *other, TPM2_HANDLE handle, uint16_t size, ESYS_TR *ret) {
        const TPM2B_AUTH auth = {};
        const TPM2B_NV_PUBLIC public = {
                .nvPublic = {
                        .nvIndex = handle,
                        .nameAlg = TPM2_ALG_SHA512,
                        .attributes = TPMA_NV_AUTHREAD | TPMA_NV_AUTHWRITE,
                        .dataSize = size,
                },
        };

        return Esys_NV_DefineSpace(other->esys, ESYS_TR_RH_OWNER, PASSWORD, &auth, &public, ret);
}

static void other_undefine_index(Other *other, ESYS_TR index) {
        assert_int_equal(Esys_NV_UndefineSpace(other->esys, ESYS_TR_RH_OWNER, index, PASSWORD), 0);
}

static TPM2_RC other_start_session(Other *other, TPM2_SE type, ESYS_TR *ret) {
        const TPMT_SYM_DEF symmetric = { .algorithm = TPM2_ALG_NULL };

        return Esys_StartAuthSession(other->esys, ESYS_TR_NONE, ESYS_TR_NONE, NO_SESSION, NULL, type,
                                     &symmetric, TPM2_ALG_SHA256, ret);
}

static void test_objects_of_other_programs_are_not_touched(void **state) {
        ESYS_TR key, persistent, index, session, policy, gone;
        Handles before;
        Other other;

        other_open(&other);
        key = other_create_key(&other);
        assert_int_equal(Esys_EvictControl(other.esys, ESYS_TR_RH_OWNER, key, PASSWORD, 0x81000000,
                                           &persistent),
                         0);
        assert_int_equal(other_define_index(&other, FIRST_HANDLE, 64, &index), 0);
        assert_int_equal(other_start_session(&other, TPM2_SE_HMAC, &session), 0);

        before = list_handles();
        assert_int_equal(clean_up(&before, "beside others' things", 0), 0);
        assert_int_equal(clean_up(&before, "beside others' things", 1), 0);

        /* The clean-up after a killed client flushes loaded HMAC sessions and nothing else. */
        assert_int_equal(Esys_FlushContext(other.esys, session), 0);
        assert_int_equal(other_start_session(&other, TPM2_SE_POLICY, &policy), 0);
        before = list_handles();
        assert_int_equal(other_start_session(&other, TPM2_SE_HMAC, &session), 0);
        pthread_mutex_lock(&plan.mutex);
        plan.kill_code = TPM2_CC_NV_DefineSpace;
        plan.victim = fork_client();
        pthread_mutex_unlock(&plan.mutex);
        assert_int_equal(waitpid(plan.victim, NULL, 0), plan.victim);
        plan_reset();
        assert_true(clean_up(&before, "after a kill beside others' things", 0) > 1);

        assert_int_equal(Esys_FlushContext(other.esys, policy), 0);
        assert_int_equal(Esys_FlushContext(other.esys, key), 0);
        assert_int_equal(Esys_EvictControl(other.esys, ESYS_TR_RH_OWNER, persistent, PASSWORD, 0x81000000,
                                           &gone),
                         0);
        other_undefine_index(&other, index);
        other_close(&other);
}

static void test_index_of_our_shape_elsewhere_is_not_touched(void **state) {
        Handles before;
        ESYS_TR index;
        Other other;

        other_open(&other);
        assert_int_equal(other_define_index(&other, 0x01000000, NSM_INDEX_SIZE, &index), 0);
        before = list_handles();
        assert_int_equal(clean_up(&before, "beside nitro-tpm-attest's index", 0), 0);
        other_undefine_index(&other, index);
        other_close(&other);
}

static void test_leftover_sessions_that_fill_the_tpm_are_flushed(void **state) {
        Handles before = list_handles();
        unsigned n = 0;
        ESYS_TR session;
        Other other;

        other_open(&other);
        while (other_start_session(&other, TPM2_SE_HMAC, &session) == 0)
                n++;
        other_close(&other);
        assert_true(n >= 2);
        assert_int_equal(clean_up(&before, "after sessions", n), n);
}

/* The endorsement key as a killed client leaves it. */
static TPM2_RC other_create_endorsement_key(Other *other, ESYS_TR *ret) {
        TPM2B_PUBLIC template = {
                .publicArea = {
                        .type = TPM2_ALG_RSA,
                        .nameAlg = TPM2_ALG_SHA256,
                        .objectAttributes = 0x000300b2,
                        .authPolicy.size = 32,
                        .parameters.rsaDetail = {
                                .symmetric = AES_128_CFB,
                                .scheme.scheme = TPM2_ALG_NULL,
                                .keyBits = 2048,
                        },
                        .unique.rsa.size = 256,
                },
        };

        assert_int_equal(hex_decode("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
                                    template.publicArea.authPolicy.buffer, 32),
                         0);
        return Esys_CreatePrimary(other->esys, ESYS_TR_RH_ENDORSEMENT, PASSWORD, &no_sensitive, &template,
                                  &no_data, &no_pcrs, ret, NULL, NULL, NULL, NULL);
}

static void test_leftover_keys_that_fill_the_tpm_are_flushed(void **state) {
        Handles before = list_handles();
        unsigned n = 0;
        ESYS_TR key;
        Other other;

        other_open(&other);
        while (other_create_endorsement_key(&other, &key) == 0)
                n++;
        other_close(&other);
        assert_true(n >= 2);
        assert_int_equal(clean_up(&before, "after keys", n), n);
}

static void test_keys_of_other_programs_that_fill_the_tpm_are_left_and_reported(void **state) {
        Handles full;
        Other other;
        ESYS_TR key[3];
        Error error;
        Tpm *tpm;

        other_open(&other);
        for (size_t i = 0; i < ELEMENTSOF(key); i++)
                key[i] = other_create_key(&other);
        full = list_handles();

        tpm = open_tpm();
        assert_int_equal(tpm_prepare(tpm, NULL, &error), -ENOSPC);
        assert_error(&error, FAILURE_TPM, REMEDY_RETRY, "slots");
        assert_handles(&full, "after", 1);
        assert_int_equal(Esys_FlushContext(other.esys, key[0]), 0);
        attest(tpm, 4900);
        tpm_close(tpm);

        for (size_t i = 1; i < ELEMENTSOF(key); i++)
                assert_int_equal(Esys_FlushContext(other.esys, key[i]), 0);
        other_close(&other);
}

static void test_full_nv_memory_is_reported(void **state) {
        ESYS_TR index[64];
        Handles full;
        Other other;
        Error error;
        size_t n = 0;
        Tpm *tpm;

        other_open(&other);
        while (n < ELEMENTSOF(index) &&
               other_define_index(&other, 0x01000000 + (TPM2_HANDLE) n, NSM_INDEX_SIZE, &index[n]) == 0)
                n++;
        assert_true(n > 0 && n < ELEMENTSOF(index));
        full = list_handles();

        tpm = open_tpm();
        assert_int_equal(tpm_prepare(tpm, NULL, &error), -ENOSPC);
        assert_error(&error, FAILURE_TPM, REMEDY_NONE, "less than 8 KiB left");
        tpm_close(tpm);
        assert_handles(&full, "after", 1);

        while (n > 0)
                other_undefine_index(&other, index[--n]);
        other_close(&other);
}

static void test_hierarchy_with_an_authorization_value_is_reported(void **state) {
        static const struct {
                ESYS_TR hierarchy;
                const char *text;
        } cases[] = {
                { ESYS_TR_RH_OWNER, "owner hierarchy: that hierarchy has an authorization value" },
                { ESYS_TR_RH_ENDORSEMENT,
                  "endorsement hierarchy: that hierarchy has an authorization value" },
        };
        const TPM2B_AUTH taken = { .size = 5, .buffer = "taken" }, empty = {};
        Handles before = list_handles();

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Tpm *tpm = open_tpm();
                Other other;

                other_open(&other);
                assert_int_equal(Esys_HierarchyChangeAuth(other.esys, cases[i].hierarchy, PASSWORD, &taken),
                                 0);
                attest_fails(tpm, -EACCES, FAILURE_TPM, REMEDY_NONE, cases[i].text);

                assert_int_equal(Esys_TR_SetAuth(other.esys, cases[i].hierarchy, &taken), 0);
                assert_int_equal(Esys_HierarchyChangeAuth(other.esys, cases[i].hierarchy, PASSWORD, &empty),
                                 0);
                other_close(&other);
                attest(tpm, 4900);
                tpm_close(tpm);
                assert_handles(&before, "after case", i);
        }
}

static void test_reset_of_the_tpm_after_preparation_is_survived(void **state) {
        Handles before = list_handles();
        Tpm *tpm = open_tpm();
        Error error;

        assert_int_equal(tpm_prepare(tpm, NULL, &error), 0);
        stop_swtpm();
        attest_fails(tpm, 0, FAILURE_TPM, REMEDY_RETRY, "TPM");
        attest_fails(tpm, -EIO, FAILURE_TPM, REMEDY_RETRY, "There is no TPM");
        start_swtpm("nitro", true);
        attest(tpm, 4900);

        assert_int_equal(tpm_prepare(tpm, NULL, &error), 0);
        stop_swtpm();
        start_swtpm("nitro", true);
        attest_fails(tpm, 0, FAILURE_TPM, REMEDY_RETRY, "TPM");
        attest(tpm, 4900);

        assert_int_equal(tpm_prepare(tpm, NULL, &error), 0);
        stop_swtpm();
        start_swtpm("nitro", true);
        tpm_close(tpm);
        assert_handles(&before, "after", 3);
}

/* The output of tpm2_pcrread for the SHA-384 bank. */
static void read_with_tpm2_tools(PcrSet *ret) {
        char output[PATH_MAX], command[3 * PATH_MAX];
        size_t size;

        path_in_directory("pcrs", output);
        memset(ret, 0, sizeof(*ret));
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
                _cleanup_free_ uint8_t *value = NULL;

                snprintf(command, sizeof(command), "tpm2_pcrread -Q -T '%s' -o '%s' sha384:%u", tcti, output,
                         pcr);
                assert_int_equal(system(command), 0);
                assert_int_equal(read_file(output, PCR_SIZE, &value, &size), 0);
                assert_int_equal(size, PCR_SIZE);
                memcpy(ret->value[pcr], value, PCR_SIZE);
                ret->present |= UINT32_C(1) << pcr;
        }
}

static void test_pcrs_are_those_that_tpm2_tools_read(void **state) {
        static const uint32_t masks[] = { 0, 1, 0x1090, 0x00ffffff, 0x00ff0000, 0x00800001, 0x0001ff00 };
        uint8_t digest[PCR_SIZE];
        Tpm *tpm = open_tpm();
        PcrSet wanted, seen;
        Error error;

        for (unsigned pcr = 0; pcr < 16; pcr++) {
                memset(digest, (int) pcr + 1, sizeof(digest));
                assert_int_equal(tpm_extend_pcr(tpm, pcr, digest, &error), 0);
        }
        read_with_tpm2_tools(&wanted);
        for (size_t i = 0; i < ELEMENTSOF(masks); i++) {
                memset(&seen, 0x55, sizeof(seen));
                if (tpm_read_pcrs(tpm, masks[i], &seen, &error) < 0)
                        fail_msg("mask 0x%06x: %s", masks[i], error.text);
                assert_int_equal(seen.present, masks[i]);
                for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++)
                        if (masks[i] & UINT32_C(1) << pcr)
                                assert_memory_equal(seen.value[pcr], wanted.value[pcr], PCR_SIZE);
        }
        tpm_close(tpm);
}

static void test_pcr_is_extended(void **state) {
        uint8_t hashed[2 * PCR_SIZE], wanted[PCR_SIZE];
        PcrSet before, after;
        Tpm *tpm = open_tpm();
        Error error;

        assert_int_equal(tpm_prepare(tpm, NULL, &error), 0);
        assert_int_equal(tpm_read_pcrs(tpm, 1U << 14, &before, &error), 0);
        memset(hashed + PCR_SIZE, 0xab, PCR_SIZE);
        memcpy(hashed, before.value[14], PCR_SIZE);
        assert_non_null(SHA384(hashed, sizeof(hashed), wanted));
        assert_int_equal(tpm_extend_pcr(tpm, 14, hashed + PCR_SIZE, &error), 0);
        assert_int_equal(tpm_read_pcrs(tpm, 1U << 14, &after, &error), 0);
        assert_memory_equal(after.value[14], wanted, PCR_SIZE);

        assert_int_equal(tpm_extend_pcr(tpm, 17, wanted, &error), -EACCES);
        assert_error(&error, FAILURE_TPM, REMEDY_NONE, "locality");
        plan_fault(TPM2_CC_PCR_Extend, TPM2_RC_FAILURE, 0, SIZE_MAX);
        assert_int_equal(tpm_extend_pcr(tpm, 14, wanted, &error), -EIO);
        assert_error(&error, FAILURE_TPM, REMEDY_NONE, "extend a PCR");
        plan_reset();
        attest(tpm, 4900);
        tpm_close(tpm);
}

static void test_inactive_sha384_bank_is_reported(void **state) {
        const TPML_PCR_SELECTION sha256_alone = {
                .count = 4,
                .pcrSelections = {
                        { .hash = TPM2_ALG_SHA1, .sizeofSelect = 3 },
                        { .hash = TPM2_ALG_SHA256, .sizeofSelect = 3, .pcrSelect = { 0xff, 0xff, 0xff } },
                        { .hash = TPM2_ALG_SHA384, .sizeofSelect = 3 },
                        { .hash = TPM2_ALG_SHA512, .sizeofSelect = 3 },
                },
        };
        const uint8_t digest[PCR_SIZE] = { 1 };
        UINT32 max, needed, available;
        TPMI_YES_NO done;
        PcrSet pcrs;
        Other other;
        Error error;
        Tpm *tpm;

        stop_swtpm();
        start_swtpm("sha256", true);
        other_open(&other);
        assert_int_equal(Esys_PCR_Allocate(other.esys, ESYS_TR_RH_PLATFORM, PASSWORD, &sha256_alone, &done,
                                           &max, &needed, &available),
                         0);
        assert_true(done);
        other_close(&other);
        stop_swtpm();
        start_swtpm("sha256", true);

        tpm = open_tpm();
        assert_int_equal(tpm_read_pcrs(tpm, 0x10, &pcrs, &error), -EOPNOTSUPP);
        assert_error(&error, FAILURE_TPM, REMEDY_NONE, "SHA-384 bank is not active");
        assert_int_equal(tpm_extend_pcr(tpm, 14, digest, &error), -EOPNOTSUPP);
        assert_error(&error, FAILURE_TPM, REMEDY_NONE, "SHA-384 bank is not active");
        tpm_close(tpm);

        stop_swtpm();
        start_swtpm("nitro", true);
}

/* First a TPM with 8 KiB indices and without the command, then swtpm as the distribution has it. */
static void test_other_tpms_are_not_nitrotpms(void **state) {
        char saved[PATH_MAX];
        Handles before;
        Error error;
        Tpm *tpm;

        stop_swtpm();
        start_swtpm("nitro", false);
        before = list_handles();
        tpm = open_tpm();
        attest_fails(tpm, -EOPNOTSUPP, FAILURE_NOT_NITRO, REMEDY_NONE,
                     "does not know the attestation command");
        tpm_close(tpm);
        assert_handles(&before, "after", 1);

        stop_swtpm();
        strcpy(saved, library_path);
        library_path[0] = '\0';
        start_swtpm("plain", false);
        strcpy(library_path, saved);
        before = list_handles();
        tpm = open_tpm();
        assert_int_equal(tpm_prepare(tpm, NULL, &error), -EOPNOTSUPP);
        assert_error(&error, FAILURE_NOT_NITRO, REMEDY_NONE, "8192");
        tpm_close(tpm);
        assert_handles(&before, "after", 2);

        stop_swtpm();
        start_swtpm("nitro", true);
}

static void test_a_device_that_udev_has_not_opened_to_us_yet_may_be_tried_again(void **state) {
        char path[] = "/tmp/unseald-test-device-XXXXXX", name[64];
        _cleanup_close_ int fd = -1;
        int status;
        pid_t pid;

        if (geteuid() != 0) {
                print_message("skipped: needs root to become another user\n");
                skip();
        }
        /* Owned by root, mode 0600: as /dev/tpm0 is before the udev rule. */
        fd = mkstemp(path);
        assert_true(fd >= 0);
        (void) snprintf(name, sizeof(name), "device:%s", path);
        pid = fork();
        if (pid == 0) {
                Tpm *tpm = NULL;
                Error error = {};

                if (setresuid(65534, 65534, 65534) < 0)
                        _exit(1);
                _exit(tpm_open(name, &tpm, &error) != -EACCES || error.failure != FAILURE_TPM ||
                      error.remedy != REMEDY_RETRY || !strstr(error.text, "udev"));
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(status, 0);
}

static void test_tpm_that_cannot_be_opened(void **state) {
        static const struct {
                const char *name;
                int r;
                Remedy remedy;
                const char *text;
        } cases[] = {
                { "", -EINVAL, REMEDY_NONE, "empty" },
                { "nonsense:path=x", -EINVAL, REMEDY_NONE, "not the name" },
                { "swtpm:nonsense=1", -EINVAL, REMEDY_NONE, "not the name" },
                { "swtpm:path=/nonexistent", -EIO, REMEDY_RETRY, "There is no TPM" },
                { "device:/nonexistent/tpm0", -ENOENT, REMEDY_RETRY, "--tpm-support v2.0" },
                { "device:/", -EISDIR, REMEDY_NONE, "cannot open" },
                { "device:/proc/self/comm", -ENOTTY, REMEDY_NONE, "not a device" },
                { "device:/dev/null", -EBUSY, REMEDY_RETRY, "Another program" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Tpm *tpm = NULL;
                Error error = {};
                int r;

                r = tpm_open(cases[i].name, &tpm, &error);
                if (r != cases[i].r)
                        fail_msg("%s: saw %i (%s), wanted %i", cases[i].name, r, error.text, cases[i].r);
                assert_error(&error, FAILURE_TPM, cases[i].remedy, cases[i].text);
                assert_null(tpm);
        }
        assert_null(tpm_close(NULL));
}

static TSS2_RC esys_fault;
static bool random_fails;

typedef TSS2_RC (*Initialize)(ESYS_CONTEXT **ret, TSS2_TCTI_CONTEXT *transport, TSS2_ABI_VERSION *version);

/* In place of tpm2-tss' and OpenSSL's functions. */
TSS2_RC Esys_Initialize(ESYS_CONTEXT **ret, TSS2_TCTI_CONTEXT *transport, TSS2_ABI_VERSION *version) {
        Initialize initialize = (Initialize) dlsym(RTLD_NEXT, "Esys_Initialize");

        return esys_fault != 0 ? esys_fault : initialize(ret, transport, version);
}

int RAND_bytes(unsigned char *buffer, int size) {
        return random_fails ? 0 : RAND_priv_bytes(buffer, size);
}

static void test_failures_of_esys_and_openssl_are_not_called_out_of_memory(void **state) {
        static const struct {
                TSS2_RC code;
                int r;
                Failure failure;
                const char *text;
        } cases[] = {
                { TSS2_ESYS_RC_MEMORY, -ENOMEM, FAILURE_INTERNAL, "Out of memory." },
                { TSS2_ESYS_RC_ABI_MISMATCH, -EIO, FAILURE_TPM, "tpm2-tss cannot be set up for the TPM" },
                { TSS2_ESYS_RC_GENERAL_FAILURE, -EIO, FAILURE_TPM, "tpm2-tss cannot be set up for the TPM" },
        };
        Handles before = list_handles();
        Error error = {};
        Tpm *tpm = NULL;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                esys_fault = cases[i].code;
                assert_int_equal(tpm_open(tcti, &tpm, &error), cases[i].r);
                assert_error(&error, cases[i].failure, REMEDY_NONE, cases[i].text);
                assert_false(failure_is_final(error.failure));
                esys_fault = 0;
        }

        tpm = open_tpm();
        random_fails = true;
        assert_int_equal(tpm_prepare(tpm, NULL, &error), -EIO);
        random_fails = false;
        assert_error(&error, FAILURE_INTERNAL, REMEDY_RETRY,
                     "OpenSSL failed in a session with the TPM, which was asked to start a session.");
        attest(tpm, 4900);
        tpm_close(tpm);
        assert_handles(&before, "after a failure of OpenSSL", 0);
}

static int reset_before_each(void **state) {
        plan_reset();
        return 0;
}

static int setup(void **state) {
        char path[PATH_MAX];
        ssize_t n;

        n = readlink("/proc/self/exe", path, sizeof(path) - 1);
        assert_true(n > 0);
        path[n] = '\0';
        *strrchr(path, '/') = '\0';
        assert_true(snprintf(library_path, sizeof(library_path), "%s/../platform/nitrotpm", path) <
                    PATH_MAX);

        assert_non_null(mkdtemp(directory));
        responder_fd = listen_at("nsm");
        plan_reset();
        assert_int_equal(pthread_create(&responder, NULL, respond, NULL), 0);
        start_swtpm("nitro", true);
        return 0;
}

static int teardown(void **state) {
        char command[PATH_MAX];

        stop_swtpm();
        assert_int_equal(shutdown(responder_fd, SHUT_RDWR), 0);
        assert_int_equal(pthread_join(responder, NULL), 0);
        close(responder_fd);
        assert_true(snprintf(command, sizeof(command), "rm -rf '%s'", directory) < PATH_MAX);
        return system(command);
}

#define TEST(function) cmocka_unit_test_setup(function, reset_before_each)

int main(void) {
        const struct CMUnitTest tests[] = {
                TEST(test_document_is_obtained_and_nothing_is_left),
                TEST(test_hundred_documents_in_a_row),
                TEST(test_unused_preparations_are_removed),
                TEST(test_request_arrives_and_replies_of_any_length_come_back),
                TEST(test_request_that_is_too_long_is_refused),
                TEST(test_nsm_error_is_passed_on),
                TEST(test_response_of_the_attestation_command_is_authenticated),
                TEST(test_any_command_may_fail_and_nothing_is_left),
                TEST(test_any_command_may_fail_from_there_on_and_the_next_call_works),
                TEST(test_busy_tpm_is_asked_again_a_few_times),
                TEST(test_use_of_the_index_always_ends_with_a_shutdown),
                TEST(test_errors_say_what_to_do),
                TEST(test_any_response_may_be_lost_or_damaged_and_nothing_is_left),
                TEST(test_next_process_removes_all_after_a_kill_at_any_command),
                TEST(test_next_process_removes_all_after_a_kill_at_any_time),
                TEST(test_objects_of_other_programs_are_not_touched),
                TEST(test_index_of_our_shape_elsewhere_is_not_touched),
                TEST(test_leftover_sessions_that_fill_the_tpm_are_flushed),
                TEST(test_leftover_keys_that_fill_the_tpm_are_flushed),
                TEST(test_keys_of_other_programs_that_fill_the_tpm_are_left_and_reported),
                TEST(test_full_nv_memory_is_reported),
                TEST(test_hierarchy_with_an_authorization_value_is_reported),
                TEST(test_reset_of_the_tpm_after_preparation_is_survived),
                TEST(test_pcrs_are_those_that_tpm2_tools_read),
                TEST(test_pcr_is_extended),
                TEST(test_inactive_sha384_bank_is_reported),
                TEST(test_other_tpms_are_not_nitrotpms),
                TEST(test_a_device_that_udev_has_not_opened_to_us_yet_may_be_tried_again),
                TEST(test_tpm_that_cannot_be_opened),
                TEST(test_failures_of_esys_and_openssl_are_not_called_out_of_memory),
        };

        return cmocka_run_group_tests_name("tpm", tests, setup, teardown);
}
