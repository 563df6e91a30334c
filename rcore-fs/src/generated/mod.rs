//! Files, directories and links whose content is made when somebody looks: the mechanism behind /proc and /sys.
//!
//! What they say is the business of those who know it; they register callbacks. Everything here is built from four
//! inodes: [`FileNode`] (content by [`GeneratedFile`]), [`DirectoryNode`] (a fixed part, and optionally a part that a
//! callback lists and looks up, as /proc lists processes), [`LinkNode`] (its path by a callback) and whatever else the
//! callbacks return. [`GeneratedFileSystem`] puts a root of these up for mounting.
//!
//! A reader sees one consistent text: [`GeneratedReader`] keeps what was generated at the first read of an open file,
//! and generates anew when the file is read from its start again.

mod content;
mod directory;
mod file_system;
mod node;
#[cfg(test)]
mod tests;

pub use content::{ContentBuffer, ContentError, GeneratedFile, GeneratedReader, LONGEST_INPUT, TextFile};
pub use directory::{DirectoryNode, DynamicEntries, DynamicEntry};
pub use file_system::GeneratedFileSystem;
pub use node::{Attributes, FileNode, LinkNode, dynamic_inode_number};
