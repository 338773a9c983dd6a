// The process's allocator, for src/memory.rs.
#include <cstddef>

#ifdef __GLIBC__
#include <malloc.h>
#endif

//! From when on an allocation is a mapping of its own, which costs its pages anew each time.
static constexpr int MAPPED_BYTES = 32 << 20;
//! How much freed memory stays with the process for what comes next.
static constexpr int KEPT_BYTES = 64 << 20;

extern "C" void dh_keep_freed_memory() {
#ifdef __GLIBC__
	mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES);
	mallopt(M_TRIM_THRESHOLD, KEPT_BYTES);
#endif
}
