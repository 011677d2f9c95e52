/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The words behind "unsealctl volume". Each is called like a main() of its own, with its word as argv[0], and returns the exit
 * status. */

int volume_create(int argc, char *argv[]);
int volume_show(int argc, char *argv[]);
int volume_verify(int argc, char *argv[]);
