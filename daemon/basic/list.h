/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Doubly linked lists whose items have the members previous and next. head is a pointer to the first item, or NULL. */

#define LIST_PREPEND(head, item)                         \
        do {                                             \
                (item)->previous = NULL;                 \
                (item)->next = (head);                   \
                if ((item)->next)                        \
                        (item)->next->previous = (item); \
                (head) = (item);                         \
        } while (0)

#define LIST_REMOVE(head, item)                                    \
        do {                                                       \
                if ((item)->previous)                              \
                        (item)->previous->next = (item)->next;     \
                else                                               \
                        (head) = (item)->next;                     \
                if ((item)->next)                                  \
                        (item)->next->previous = (item)->previous; \
                (item)->previous = (item)->next = NULL;            \
        } while (0)
