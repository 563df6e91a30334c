//! The RISC-V backend.
