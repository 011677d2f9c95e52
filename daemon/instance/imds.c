/* SPDX-License-Identifier: Apache-2.0 */

#include "instance/imds.h"
