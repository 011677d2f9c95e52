/* SPDX-License-Identifier: Apache-2.0 */

#include <errno.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/encoding.h"
#include "tpm/expectation.h"

#define PCR(n) (UINT32_C(1) << (n))

/* PCR7 of every instance without Secure Boot: extended with SecureBoot off and PK, KEK, db and dbx empty (TCG PC Client
 * Platform Firmware Profile, "PCR[7]"). */
static const uint8_t pcr7_without_secure_boot[PCR_SIZE] = {
        0x98, 0x44, 0x1c, 0x7f, 0x76, 0x25, 0xd1, 0x00, 0x58, 0xc4, 0x76, 0x83, 0xae, 0xc4, 0x86, 0xce,
        0x31, 0x1c, 0x63, 0x32, 0x35, 0xeb, 0x55, 0x55, 0x93, 0xa7, 0xee, 0x79, 0x11, 0x21, 0xe3, 0x57,
        0x8a, 0xe7, 0x2d, 0x04, 0xec, 0xef, 0x66, 0x1f, 0x27, 0x2d, 0x59, 0x05, 0x8b, 0x77, 0xaf, 0x35,
};

static bool is_all(const uint8_t value[static PCR_SIZE], uint8_t byte) {
        for (size_t i = 0; i < PCR_SIZE; i++)
                if (value[i] != byte)
                        return false;
        return true;
}

bool pcr_value_is_constant(unsigned pcr, const uint8_t value[static PCR_SIZE]) {
        if (pcr == 7 && memcmp(value, pcr7_without_secure_boot, PCR_SIZE) == 0)
                return true;
        return (pcr < 16 && is_all(value, 0xFF)) || ((pcr == 4 || pcr == 7) && is_all(value, 0));
}

/* Gives the PCR a value if the file has none. hex: NULL: zeros. */
static void complete(PcrSet *pcrs, unsigned pcr, const char *hex) {
        if (pcrs->present & PCR(pcr))
                return;
        memset(pcrs->value[pcr], 0, PCR_SIZE);
        if (hex)
                (void) hex_decode(hex, pcrs->value[pcr], PCR_SIZE);
        pcrs->present |= PCR(pcr);
}

void expectation_make(const PcrSet *measurements, const ExpectationOptions *options, Expectation *ret) {
        Expectation expectation = { *measurements, PCR(2) | PCR(4) | PCR(12) | PCR(13) };

        complete(&expectation.pcrs, 2, PCR2_WITHOUT_DRIVERS);
        complete(&expectation.pcrs, 12, NULL);
        complete(&expectation.pcrs, 13, NULL);
        if (options->any_drivers) {
                expectation.pcrs.present &= ~PCR(2);
                expectation.pinned &= ~PCR(2);
        }
        if (options->any_extensions && options->lock_pcr != 13) {
                expectation.pcrs.present &= ~PCR(13);
                expectation.pinned &= ~PCR(13);
        }
        expectation.pcrs.present &= ~options->measured;
        expectation.pinned &= ~options->measured;
        if (options->secure_boot)
                expectation.pinned |= PCR(7);
        if (options->lock_pcr > 0) {
                complete(&expectation.pcrs, options->lock_pcr, NULL);
                expectation.pinned |= PCR(options->lock_pcr);
        }
        *ret = expectation;
}

/* What "nitro-cli build-enclave" prints. PCR2 may have been completed. */
static bool is_of_enclave(const PcrSet *pcrs) {
        return (pcrs->present & (PCR(0) | PCR(1) | PCR(4))) == (PCR(0) | PCR(1));
}

int expectation_check(const Expectation *expectation, Error *error) {
        for (unsigned pcr = 0; pcr < PCR_COUNT; pcr++) {
                if (!(expectation->pinned & PCR(pcr)))
                        continue;
                if (!(expectation->pcrs.present & PCR(pcr)))
                        return error_set(
                                        error, -EINVAL, FAILURE_USAGE,
                                        "The measurements have no PCR%u (%s). %s", pcr, pcr_covers(pcr),
                                        is_of_enclave(&expectation->pcrs)
                                                        ? "PCR0 and PCR1 are those of an enclave, which no instance has."
                                                        : "Measure the image again.");
                if (pcr_value_is_constant(pcr, expectation->pcrs.value[pcr]))
                        return error_set(
                                        error, -EINVAL, FAILURE_USAGE,
                                        "PCR%u of the measurements is %s, and does not say what booted. Measure the image again, as it boots.",
                                        pcr,
                                        pcr == 7 ? "that of an instance without Secure Boot, or constant"
                                                 : "constant");
        }
        return 0;
}

static unsigned count_bits(uint32_t bits) {
        return (unsigned) __builtin_popcount(bits);
}

ExpectationVerdict expectation_judge(const Expectation *alternatives, size_t n, const PcrSet *measured) {
        ExpectationVerdict nearest = {};

        for (size_t i = 0; i < n; i++) {
                const PcrSet *pcrs = &alternatives[i].pcrs;
                ExpectationVerdict verdict = {
                        .index = i,
                        .differing = pcr_differing(pcrs, measured),
                        .missing = pcrs->present & ~measured->present,
                };

                verdict.met = (verdict.differing | verdict.missing) == 0;
                if (i == 0 || count_bits(verdict.differing | verdict.missing) <
                                              count_bits(nearest.differing | nearest.missing))
                        nearest = verdict;
                if (verdict.met)
                        break;
        }
        return nearest;
}
