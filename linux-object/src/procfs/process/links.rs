//! Links to where a process is: they lead to the place itself, whether or not it still has that name.

use alloc::sync::Arc;
use core::any::Any;

use linux_abi::Errno;
use rcore_fs::INode;
use rcore_fs::generated::LinkNode;

use super::Subject;
use crate::namespace::Place;
use crate::procfs::text::shown_path;

const PERMISSIONS: u32 = 0o777;

fn to_place(subject: &Subject, inode: u64, find: fn(&Subject) -> Result<Place, Errno>) -> Arc<dyn INode> {
    let place = move |subject: &Subject| {
        subject.check_inspection()?;
        // A zombie is nowhere.
        find(subject).map_err(|_| Errno::ENOENT)
    };
    let (shown, jumping) = (subject.clone(), subject.clone());
    LinkNode::to_object(
        subject.attributes(inode, PERMISSIONS),
        move || Ok(shown_path(&place(&shown)?)?.into()),
        move || Ok(Arc::new(place(&jumping)?) as Arc<dyn Any + Send + Sync>),
    )
}

pub(super) fn working_directory(subject: &Subject, inode: u64) -> Arc<dyn INode> {
    to_place(subject, inode, |subject| Ok(subject.resources()?.paths.working_directory()))
}

pub(super) fn root(subject: &Subject, inode: u64) -> Arc<dyn INode> {
    to_place(subject, inode, |subject| Ok(subject.resources()?.paths.root()))
}

pub(super) fn executable(subject: &Subject, inode: u64) -> Arc<dyn INode> {
    to_place(subject, inode, |subject| subject.resources()?.image.executable.clone().ok_or(Errno::ENOENT))
}
