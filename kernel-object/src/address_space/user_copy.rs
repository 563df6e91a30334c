//! Copying between the kernel and a program's memory, faults included.
