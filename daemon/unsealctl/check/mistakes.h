/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Judges a configuration that can be read: finds the mistakes that show only when its parts, and parts of its system, are seen
 * together. Facts go in, remarks come out; check-system.h gathers the facts. */

#include "basic/error.h"
#include "config/declaration.h"
#include "config/ini.h"
#include "config/remarks.h"
#include "config/settings.h"
#include "unsealctl/check/consumers.h"

/* The longest names of unit and credential together. The service manager asks from the abstract socket address
 * "\0HEX/unit/UNIT/ID", with up to 16 digits in HEX, and an address has at most 107 bytes. */
#define CHECK_UNIT_AND_ID_MAX 83U

/* The facts about one declaration. */
typedef struct SecretFacts {
        const IniFile *ini; /* its lines */
        Error source;       /* why its file cannot be read; FAILURE_NONE also where the source is no file */
        char **missing_units; /* units of Units= without a unit file; NULL: none */
        bool user_missing, group_missing;
} SecretFacts;

typedef struct CheckFacts {
        const Settings *settings;
        const IniFile *settings_ini;
        Error trust; /* why TrustedCertificates= cannot be loaded; FAILURE_NONE: it can */
        const Declarations *declarations;
        const SecretFacts *secrets; /* one for each declaration, in the same order */
        const Consumers *consumers;
} CheckFacts;

/* Adds a remark for each mistake. Pure. -ENOMEM. */
int check_configuration(const CheckFacts *facts, Remarks *remarks);
