/*
 * One message of an exported queue: ID.eml, its content as it would be sent, and ID.json, its
 * envelope (README.md has the keys). Written whole: .ID.eml.tmp and .ID.json.tmp are unfinished.
 * Who reads them trusts neither names nor content: a folder may come from anywhere.
 */
#pragma once
#include "queue/id.h"
#include "relay/cli/private.h"

#define PAIR_VERSION 1
#define PAIR_NAME_SIZE 32
#define PAIR_JSON_MAX (64u << 20) /* 65,535 recipients with their last replies */
#define PAIR_PROBLEM_SIZE 200

enum pair_part { PAIR_NONE = 0, PAIR_JSON = 1, PAIR_EML = 2 };

/* Which part a file of this name is. PAIR_NONE: of no message. */
enum pair_part pair_part_of(const char *name, uint64_t *ret_id);
void pair_name(char ret[PAIR_NAME_SIZE], const char *id, enum pair_part part);
void pair_tmp_name(char ret[PAIR_NAME_SIZE], const char *id, enum pair_part part);

/* A regular file of the folder for reading, never through a link. An errno, negative. */
int pair_open(int folder, const char *name, uint64_t *ret_size);

/* The envelope file, from the rows of queue.export. */
json_t *pair_make(const json_t *envelope, const json_t *recipients);
/* Reads and judges ID.json. NULL: ret_problem says why. */
json_t *pair_load(int folder, const char *id, char ret_problem[PAIR_PROBLEM_SIZE]);
/* All that matters is equal: what attempts did meanwhile does not. */
bool pair_same(const json_t *a, const json_t *b);
/* The arguments of import.begin. */
json_t *pair_begin(const json_t *file, struct wall now, bool hold);
