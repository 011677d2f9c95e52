/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The files of a bundle's members in the store. The bundle is kept as one descriptor, so these files are copies, which are written
 * again whenever the store does not show them. As with other secrets, all that can fail is done before the commit: a file is first
 * staged under a hidden name, and after the commit it is only renamed.
 */

#include "config/declaration.h"
#include "memory/secret.h"
#include "vault/manifest.h"
#include "vault/store.h"

typedef struct MemberFiles MemberFiles;

/* A bundle and the places of the members that are in it; some optional ones may be missing. */
typedef struct MemberPlaces {
        Secret *bundle;
        const ManifestMember *members; /* sorted by name */
        size_t count;
} MemberPlaces;

/* Looks up the owners. bundle and store are borrowed. FAILURE_CONFIGURATION or FAILURE_INTERNAL. */
int member_files_new(const Declaration *bundle, Store *store, MemberFiles **ret, Error *error);
MemberFiles *member_files_free(MemberFiles *files);
DEFINE_CLEANUP(MemberFiles *, member_files_free);

/* Looks which files the store shows as they should be. Until this is called, none is known to be there. */
void member_files_look(MemberFiles *files, const MemberPlaces *places);

/* Stages each file that the store does not show as it should be. FAILURE_STORE. */
int member_files_stage(MemberFiles *files, const MemberPlaces *places, Error *error);

/* Forgets what is staged; the next store_retain() removes it. */
void member_files_drop(MemberFiles *files);

/* Gives the staged files their names. A file that cannot get its name does not hold up the others; the error is that of the first one.
 * It may be called again after a failure. FAILURE_STORE. */
int member_files_publish(MemberFiles *files, Error *error);

/* Lists, for store_retain(), what is staged and what the store shows of these members. ret has room for one file for each declared
 * member. Returns their number. */
size_t member_files_list(const MemberFiles *files, StoreFile *ret);

/* The same for a bundle without MemberFiles: the files of the members that are kept, by their names alone. */
size_t member_files_list_kept(const Declaration *bundle, const ManifestMember *members, size_t count,
                              StoreFile *ret);
