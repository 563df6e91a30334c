//! The machine contract.
#![no_std]
