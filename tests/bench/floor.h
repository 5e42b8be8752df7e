/* What both parts of the floor have to agree on. */
#ifndef OCIKIT_FLOOR_H
#define OCIKIT_FLOOR_H

#define FLOOR_HIERARCHIES 16 /* more than any kernel has */

#endif
