//! The two macros behind every table of this crate: constants, and layouts with their proofs.
//!
//! Both also hand their contents to the unit tests, which compare them with the C headers of a cross compiler where
//! one is installed.

/// Defines `pub const` items of one type. With a table name, the constants are those of Linux's exported headers and
/// are compared with them; without one, the headers lack them (or old versions of the headers do).
macro_rules! constants {
    ($type:ty { $( $(#[$doc:meta])* $name:ident = $value:expr; )* }) => {
        $( $(#[$doc])* pub const $name: $type = $value; )*
    };
    ($table:ident: $type:ty { $( $(#[$doc:meta])* $name:ident = $value:expr; )* }) => {
        $crate::table::constants! { $type { $( $(#[$doc])* $name = $value; )* } }
        #[cfg(test)]
        pub(crate) const $table: &[(&str, i128)] = &[ $( (stringify!($name), $name as i128) ),* ];
    };
}

/// Proves at compile time that a structure has the size and the offsets of its C twin. With a C type's name the numbers
/// are compared with the headers too; members after `newer` are left out of that comparison, since headers older than
/// Linux 6.12 lack them.
macro_rules! layout {
    ($type:ty, $size:literal { $( $field:ident: $offset:literal ),* $(,)? }) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            $( assert!(core::mem::offset_of!($type, $field) == $offset); )*
        };
    };
    ($table:ident = $c_type:literal: $type:ty, $size:literal { $( $field:ident: $offset:literal ),* $(,)? }
        $( newer { $( $new_field:ident: $new_offset:literal ),* $(,)? } )?) => {
        $crate::table::layout!($type, $size { $( $field: $offset, )* $( $( $new_field: $new_offset ),* )? });
        #[cfg(test)]
        pub(crate) const $table: crate::table::Layout = crate::table::Layout {
            c_type: $c_type,
            size: $size,
            fields: &[ $( (stringify!($field), $offset) ),* ],
        };
    };
}

pub(crate) use constants;
pub(crate) use layout;

/// A layout as data, for the comparison with the C headers.
#[cfg(test)]
pub(crate) struct Layout {
    pub c_type: &'static str,
    pub size: usize,
    pub fields: &'static [(&'static str, usize)],
}
