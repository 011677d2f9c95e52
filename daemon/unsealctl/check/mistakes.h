/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Judges a configuration that can be read: finds the mistakes that show only when its parts, and parts of its system, are seen
 * together. Facts go in, remarks come out; check-system.h gathers the facts. */

#include "basic/error.h"
#include "config/declaration.h"
#include "config/ini.h"
#include "config/remarks.h"
#include "config/settings.h"
#include "config/volumes.h"
#include "unsealctl/check/unit-tree.h"

/* The facts about one declaration. */
typedef struct SecretFacts {
        const IniFile *ini; /* its lines */
        Error source;       /* why its file cannot be read; FAILURE_NONE also where the source is no file */
        Error sealed; /* why unseald refuses what is in its file; FAILURE_NONE also where the source is no file */
        uint64_t plaintext_size; /* of a large message in its file: it has at least so many bytes; else 0 */
        Error signature; /* why its signature is refused; FAILURE_NONE also where one of the two is no file */
        char **missing_units; /* units of Units= without a unit file; NULL: none */
        bool user_missing, group_missing;
        struct SecretFacts *
                        members; /* of a bundle: one for each declared member, in the same order; NULL: it is none */
} SecretFacts;

typedef struct CheckFacts {
        const Settings *settings;
        const IniFile *settings_ini;
        Error trust; /* why TrustedCertificates= cannot be loaded; FAILURE_NONE: it can */
        const Declarations *declarations;
        const Volumes *volumes;     /* NULL: none */
        const SecretFacts *secrets; /* one for each declaration, in the same order */
        const UnitTree *tree;
        char **passed_over; /* files that unseald passes over, and directories of drop-ins without a secret; NULL: none */
        char **kms_missing_units;       /* units of [Kms] Units= without a unit file; NULL: none */
        char **documents_missing_units; /* the same of [Documents] */
        char **unknown_ids; /* the units whose User= is a number that /etc/passwd does not have; NULL: none */
        const char *secrets_directory; /* of the local declarations */
} CheckFacts;

/* Adds a remark for each mistake. Pure. -ENOMEM. */
int check_configuration(const CheckFacts *facts, Remarks *remarks);

/* Why unseald passes over a file of this name, and what to do. directory: ".../secrets.d", the path of a directory of drop-ins, or
 * that of unseald.conf, which may be empty. NULL: it does not, or the file is a README or the like. Pure. */
const char *passed_over_reason(const char *directory, const char *name) _pure_;
