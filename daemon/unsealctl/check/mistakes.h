/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What is wrong with a configuration that can be read: what shows only where its parts, and those of the system that it is
 * for, are looked at together. Facts in, remarks out; check-system.h gathers the facts. */

#include "basic/error.h"
#include "config/declaration.h"
#include "config/ini.h"
#include "config/remarks.h"
#include "config/settings.h"
#include "unsealctl/check/consumers.h"

/* So long may unit and credential be together: the address "\0HEX/unit/UNIT/ID", HEX of up to 16 digits, that the service
 * manager asks from has 107 bytes. */
#define CHECK_UNIT_AND_ID_MAX 83U

/* Of one declaration. */
typedef struct SecretFacts {
        const IniFile *ini;   /* its lines */
        Error source;         /* FAILURE_NONE: its file can be had, or it is none */
        char **missing_units; /* those of Units= that have no file; NULL: none */
        bool user_missing, group_missing;
} SecretFacts;

typedef struct CheckFacts {
        const Settings *settings;
        const IniFile *settings_ini;
        Error trust; /* FAILURE_NONE: the certificates can be loaded */
        const Declarations *declarations;
        const SecretFacts *secrets; /* as many, in the same order */
        const Consumers *consumers;
} CheckFacts;

/* Pure. -ENOMEM. */
int check_configuration(const CheckFacts *facts, Remarks *remarks);
