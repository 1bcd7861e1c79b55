/* CRC32C (Castagnoli, RFC 3720 appendix B.4), by the processor's instruction where there is one. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* crc: 0, a salt, or the result so far (crc32c(crc32c(0, a), b) is the sum of a and b). */
uint32_t crc32c(uint32_t crc, const void *p, size_t n);
/* The same by table; for processors without the instruction, and the test that compares. */
uint32_t crc32c_table(uint32_t crc, const void *p, size_t n);
