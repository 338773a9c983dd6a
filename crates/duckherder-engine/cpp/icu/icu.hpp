//! DuckDB's icu extension as a part of every database that this process opens.
#pragma once

#include <cstdint>

extern "C" {
//! Registers icu with DuckDB; may be called again. 0, or not 0 when the next opened database will say what failed.
int32_t dh_register_icu();
}
