/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Judges the units that take secrets from unseald: units that would start without their secret or not at all, and units of unseald that
 * a boot does not start. A unit that has nothing to do with unseald gets no remark.
 */

#include "basic/limits.h"
#include "config/declaration.h"
#include "config/remarks.h"
#include "config/volumes.h"
#include "unsealctl/check/unit-tree.h"

#define CHECK_UNIT_AND_ID_MAX LIMIT_UNIT_AND_CREDENTIAL

/* Adds a remark for each finding. volumes: what takes its key as unseald-volume@NAME.service; NULL: nothing. *ret_loaded is the number of LoadCredential= lines of unseald without a mistake. Pure. -ENOMEM. */
int check_units(const UnitTree *tree, const Declarations *declarations, const Volumes *volumes,
                Remarks *remarks, size_t *ret_loaded);

/* Says that unit and credential have names that are too long together, at this place. Pure. -ENOMEM. */
int check_length(const char *unit, const char *id, const IniAssignment *line, const char *secret,
                 Remarks *remarks);
