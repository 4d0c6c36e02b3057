//! Long arrays on large pages: a step to a random place then costs one miss of the cache, not two.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use memmap2::{Advice, MmapMut};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A plain number, or an array of some: any bytes are one.
pub(crate) trait Plain: FromBytes + IntoBytes + KnownLayout + Immutable {}

impl<T: FromBytes + IntoBytes + KnownLayout + Immutable> Plain for T {}

/// An array whose length was chosen once, straight from the kernel, on large pages where it has them.
///
/// Of an array of 100 MB, every step to a place far away misses the translation of addresses too, on small pages.
pub(crate) struct Huge<T> {
    /// `None` when there is nothing to hold.
    map: Option<MmapMut>,
    len: usize,
    of: PhantomData<T>,
}

impl<T: Plain> Huge<T> {
    /// `len` zeroes. As with a vector, the process ends when there is no memory for them.
    pub(crate) fn zeroed(len: usize) -> Self {
        let map = (len > 0).then(|| {
            let layout = Layout::array::<T>(len);
            let map = layout.as_ref().ok().and_then(|layout| {
                let map = MmapMut::map_anon(layout.size()).ok()?;
                // Where the kernel refuses, small pages do.
                let _ = map.advise(Advice::HugePage);
                Some(map)
            });
            match (map, layout) {
                (Some(map), _) => map,
                (None, layout) => handle_alloc_error(layout.unwrap_or(Layout::new::<T>())),
            }
        });
        Self {
            map,
            len,
            of: PhantomData,
        }
    }

    /// `len` times `value`.
    pub(crate) fn filled(len: usize, value: T) -> Self
    where
        T: Copy,
    {
        let mut huge = Self::zeroed(len);
        huge.fill(value);
        huge
    }

    /// Forgets all but the first `len`. What lies behind was never touched, or stays held.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes in use.
    pub(crate) fn held(&self) -> u64 {
        size_of_val::<[T]>(self) as u64
    }
}

impl<T: Plain> Deref for Huge<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        let bytes = self.map.as_deref().unwrap_or_default();
        let (all, _) = <[T]>::ref_from_prefix_with_elems(bytes, self.len).unwrap_or((&[], &[]));
        all
    }
}

impl<T: Plain> DerefMut for Huge<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        let bytes = self.map.as_deref_mut().unwrap_or_default();
        match <[T]>::mut_from_prefix_with_elems(bytes, self.len) {
            Ok((all, _)) => all,
            Err(_) => &mut [],
        }
    }
}

impl<T: Plain> Default for Huge<T> {
    fn default() -> Self {
        Self::zeroed(0)
    }
}

impl<T: Plain> fmt::Debug for Huge<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} of {} bytes]", self.len(), size_of::<T>())
    }
}

#[cfg(test)]
mod tests {
    use super::Huge;

    #[test]
    fn an_array_is_zero_at_first_and_keeps_what_it_is_given() {
        let mut huge = Huge::<[u32; 2]>::zeroed(1000);
        assert_eq!((huge.len(), huge[999]), (1000, [0, 0]));
        huge[999] = [7, 8];
        assert_eq!(huge[999], [7, 8]);
        huge.truncate(10);
        assert_eq!((huge.len(), huge.held()), (10, 80));
        assert_eq!(Huge::<u64>::filled(3, 9)[..], [9, 9, 9]);
    }

    #[test]
    fn an_empty_array_is_no_mapping() {
        let mut huge = Huge::<u32>::zeroed(0);
        assert!(huge.is_empty() && huge.map.is_none());
        huge.fill(1);
    }
}
