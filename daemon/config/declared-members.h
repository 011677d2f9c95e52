/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The sections [Member NAME] of a bundle's declaration (Format=bundle). config/declaration.c reads the lines in them. */

#include "config/declaration.h"

#define MEMBER_SECTION "Member"

/* "Member NAME" with its NUL, for a valid name. */
#define DECLARED_SECTION_SIZE 80U

/* The name of the member whose section this is, which may be no valid one. NULL: it is another section. Borrowed. Pure. */
const char *declared_member_of(const char *section) _pure_;

/* Returns whether a section may have the name. Pure. */
bool declared_member_name_is_valid(const char *name) _pure_;

/* NULL: there is none of this name. Pure. */
Declaration *declared_member_find(const Declaration *bundle, const char *name) _pure_;

/* The section of a member. */
void declared_member_section(const Declaration *member, char ret[static DECLARED_SECTION_SIZE]);

/* Makes a member with the defaults for each section, sorted by name. A name that no credential can have is a mistake; its lines do not
 * count. */
int declared_members_begin(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error);

/* Checks what needs all lines: that a bundle has members and no [Deliver], that only a bundle has members, and that the units of
 * Units= can ask for them. A bundle itself is not in the store. */
int declared_members_complete(const IniFile *ini, Declaration *declaration, Remarks *remarks, Error *error);

/* Checks that no two credentials have one name, and that there are no more than LIMIT_MEMBERS members. files: the lines of each
 * declaration, in the same order. */
int declared_names_check(const Declarations *declarations, IniFile *const *files, Remarks *remarks,
                         Error *error);
