//! What is in the files and in the head, as types and bytes: pure data, no I/O.

pub mod codec;
pub mod collection;
pub mod commit_frame;
pub mod delta;
pub mod entry;
pub mod frame;
pub mod group;
pub mod head;
pub mod high;
pub mod identity;
pub mod ids;
pub mod index;
pub mod jump;
pub mod keep;
pub mod mark;
pub mod new_pages;
pub mod place;
pub mod policy;
pub mod sqlite_header;
pub mod window;
