/*
 * Segment files whose names are not what their headers say: renamed ones get the right name back,
 * duplicates and what is not part of the log go to quarantine/, where nothing is read from again.
 */
#pragma once
#include "queue/segment.h"

/* What is wrong, a line for each. */
enum { NAMES_LINE_SIZE = 120 };
void names_stray_line(char ret[NAMES_LINE_SIZE], const struct segment_stray *s);
void names_moved_line(char ret[NAMES_LINE_SIZE], const struct segment_found *f);
/* Sets it right: strays go away if they can (the log is read without them), renamed segments get
 * the name that their header says. A renaming that fails is a failure: the segment could not be
 * read under its number. */
int names_settle(const struct file_ops *fs, struct log_found *l, struct err *e);
