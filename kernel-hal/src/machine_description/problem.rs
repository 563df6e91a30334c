//! What can be wrong with a machine's description.

use std::fmt;

use heapless::Vec;

/// Without this there is no machine to run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineError {
    /// No usable memory is described.
    NoMemory,
    /// No usable hart is described.
    NoHarts,
    /// The rate of the clock is not described, or zero.
    NoTimebaseFrequency,
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMemory => "the device tree describes no memory",
            Self::NoHarts => "the device tree describes no usable hart",
            Self::NoTimebaseFrequency => "the device tree does not say how fast the clock ticks",
        })
    }
}

/// Something in the tree that was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem<'a> {
    /// A property of this node is missing or malformed.
    BadProperty {
        /// The node's name.
        node: &'a str,
        /// The property's name.
        property: &'static str,
    },
    /// There are more of these than fit.
    TooMany(&'static str),
    /// The address of this node's device cannot be seen from the harts.
    NotReachable(&'a str),
    /// This node's interrupt does not lead to the PLIC.
    NoInterrupt(&'a str),
    /// The command line has this many bytes and was cut off.
    CommandLineTooLong(usize),
}

impl fmt::Display for Problem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadProperty { node, property } => {
                write!(f, "device tree node {node}: bad or missing property {property}")
            }
            Self::TooMany(what) => write!(f, "the device tree has more {what} than are supported"),
            Self::NotReachable(node) => write!(f, "device tree node {node}: its address is not reachable"),
            Self::NoInterrupt(node) => write!(f, "device tree node {node}: its interrupt is not known"),
            Self::CommandLineTooLong(bytes) => {
                write!(f, "the command line has {bytes} bytes and was cut off")
            }
        }
    }
}

/// The first problems of a tree; further ones are only counted.
#[derive(Clone, Debug, Default)]
pub struct Problems<'a> {
    first: Vec<Problem<'a>, 16>,
    more: usize,
}

impl<'a> Problems<'a> {
    pub(super) fn note(&mut self, problem: Problem<'a>) {
        if !self.first.contains(&problem) && self.first.push(problem).is_err() {
            self.more += 1;
        }
    }

    /// The first problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem<'a>> {
        self.first.iter()
    }

    /// How many more there are.
    pub fn more(&self) -> usize {
        self.more
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.first.is_empty()
    }
}
