//! Which processors threads are pinned to, in which order.
//!
//! A thread has a core to itself as long as there are enough, and threads share a last cache where
//! they can: a barrier between two such caches takes several times as long
//! (specs/performance.md).

use std::cmp::Reverse;
use std::path::Path;

use super::system::{PROCESSORS, indices, members, text, usable};

/// What a logical processor shares.
#[derive(Debug, Clone, Default)]
struct Neighbors {
    /// Logical processors of its core, with itself.
    core: Vec<usize>,
    /// Those that share its last cache, with itself.
    cache: Vec<usize>,
}

/// The logical processors that this process may use, in the order in which threads are placed on
/// them: one of each core before the second of any, those of the last cache that most of them share
/// before others. Where the system does not say what they share, in the order of their numbers.
pub fn processors() -> Vec<usize> {
    ordered(&usable(), &|processor| {
        neighbors(&Path::new(PROCESSORS).join(format!("cpu{processor}")))
    })
}

/// What the system says in a processor's folder.
fn neighbors(folder: &Path) -> Neighbors {
    let list = |path: &Path| text(path).map(|list| members(&list)).unwrap_or_default();
    let level = |cache: &Path| text(&cache.join("level"))?.parse::<u32>().ok();
    let caches = folder.join("cache");
    let last = indices(&caches).filter_map(|cache| Some((level(&cache)?, cache))).max();
    Neighbors {
        core: list(&folder.join("topology/thread_siblings_list")),
        cache: last.map(|(_, cache)| list(&cache.join("shared_cpu_list"))).unwrap_or_default(),
    }
}

/// The usable processors in the order of [`processors`].
fn ordered(usable: &[usize], neighbors: &dyn Fn(usize) -> Neighbors) -> Vec<usize> {
    let place = |&processor: &usize| {
        let Neighbors { core, cache } = neighbors(processor);
        let usable_of = |all: Vec<usize>| all.into_iter().filter(|one| usable.contains(one));
        let before = usable_of(core).filter(|sibling| *sibling < processor).count();
        let sharing: Vec<usize> = usable_of(cache).collect();
        (before, Reverse(sharing.len()), sharing.into_iter().min(), processor)
    };
    let mut processors = usable.to_vec();
    processors.sort_by_cached_key(place);
    processors
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Two caches of four cores each, whose second threads are numbered 8 and more.
    fn server(processor: usize) -> Neighbors {
        let first = processor % 8;
        let half = first / 4 * 4;
        Neighbors {
            core: vec![first, first + 8],
            cache: (half..half + 4).chain(half + 8..half + 12).collect(),
        }
    }

    #[test]
    fn cores_come_before_their_second_threads_and_those_of_one_cache_together() {
        let all: Vec<usize> = (0..16).collect();
        assert_eq!(ordered(&all, &server), all);
        // A process that may use one core of the first cache and three of the second.
        assert_eq!(ordered(&[2, 4, 5, 6, 10, 12], &server), [4, 5, 6, 2, 12, 10]);
        // The second threads alone are cores too.
        assert_eq!(ordered(&[9, 12, 13], &server), [12, 13, 9]);
        // Pairs of neighboring numbers are one core.
        let pairs = |processor: usize| {
            let first = processor / 2 * 2;
            Neighbors { core: vec![first, first + 1], cache: (0..6).collect() }
        };
        assert_eq!(ordered(&[0, 1, 2, 3, 4, 5], &pairs), [0, 2, 4, 1, 3, 5]);
        assert_eq!(ordered(&[3, 1, 2], &|_| Neighbors::default()), [1, 2, 3]);
    }

    #[test]
    fn neighbors_are_read_of_the_last_cache() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("topology/thread_siblings_list", "1,5\n");
        write("cache/index0/level", "1\n");
        write("cache/index0/shared_cpu_list", "1,5\n");
        write("cache/index1/level", "3\n");
        write("cache/index1/shared_cpu_list", "0-3\n");
        write("cache/index2/level", "2\n");
        let Neighbors { core, cache } = neighbors(folder.path());
        assert_eq!((core, cache), (vec![1, 5], vec![0, 1, 2, 3]));
        let Neighbors { core, cache } = neighbors(&folder.path().join("none"));
        assert_eq!((core, cache), (vec![], vec![]));
    }

    #[test]
    fn every_usable_processor_has_its_place() {
        let mut processors = processors();
        processors.sort_unstable();
        assert_eq!(processors, usable());
    }
}
