//! The changed blocks of a transaction, by number.

/// A table of tables, because a transaction changes few blocks of what may be a million:
///
/// ```text
/// leaves:  0         1         2 ...         one for 512 blocks, made when one of them changes
///          |                   |
///          [ 0 1 2 ... 511 ]   [ 1024 ... ]
///              |                  a block is a page: what the file had, with the changes
/// ```
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    leaves: Vec<Option<Box<Leaf>>>,
    /// Number of the highest changed block, and one more.
    len: usize,
}

type Block = Option<Box<[u8]>>;
type Leaf = [Block; LEAF_LEN];

impl Blocks {
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of the highest changed block, and one more.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<&[u8]> {
        self.leaves.get(index / LEAF_LEN)?.as_ref()?[index % LEAF_LEN].as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut [u8]> {
        self.leaves.get_mut(index / LEAF_LEN)?.as_mut()?[index % LEAF_LEN].as_deref_mut()
    }

    pub(crate) fn insert(&mut self, index: usize, block: Box<[u8]>) {
        let leaf = index / LEAF_LEN;
        if leaf >= self.leaves.len() {
            self.leaves.resize_with(leaf + 1, || None);
        }
        let leaf = self.leaves[leaf].get_or_insert_with(|| Box::new([const { None }; LEAF_LEN]));
        leaf[index % LEAF_LEN] = Some(block);
        self.len = self.len.max(index + 1);
    }

    /// Number and bytes of all of them, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let leaves = self.leaves.iter().enumerate();
        leaves.filter_map(|(index, leaf)| Some((index, leaf.as_deref()?))).flat_map(
            |(leaf, blocks)| {
                blocks.iter().enumerate().filter_map(move |(index, block)| {
                    Some((leaf * LEAF_LEN + index, block.as_deref()?))
                })
            },
        )
    }
}

const LEAF_LEN: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_in_ascending_order_and_no_others() {
        let mut blocks = Blocks::default();
        assert!(blocks.is_empty() && blocks.get(7).is_none());
        for index in [1_000_000, 3, 511, 512] {
            blocks.insert(index, vec![0; 8].into());
        }
        blocks.get_mut(3).unwrap()[0] = 1;
        let numbers: Vec<usize> = blocks.iter().map(|(index, _)| index).collect();
        assert_eq!(numbers, [3, 511, 512, 1_000_000]);
        assert_eq!(blocks.len(), 1_000_001);
        assert_eq!(blocks.get(3).unwrap()[0], 1);
        assert!(blocks.get(4).is_none() && blocks.get_mut(5000).is_none());
    }
}
