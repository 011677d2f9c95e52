/* SPDX-License-Identifier: Apache-2.0 */

#include "source/pieces.h"

void pieces_give_back(Pieces *pieces, uint8_t *data) {
        pieces->kind->give_back(pieces, data);
}

Pieces *pieces_free(Pieces *pieces) {
        if (pieces)
                pieces->kind->free(pieces);
        return NULL;
}
