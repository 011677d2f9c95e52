/* SPDX-License-Identifier: Apache-2.0 */

#include "kms/recipient.h"
