//! Decides how much of a disk one site may take.
//!
//! A site's quota is a number of bytes on all disks together. Each disk holds the site to its own share of them, by
//! its size: keys spread over the disks in the same proportion, and no disk need ask another. Asked by the writer
//! before it appends.

use std::collections::HashMap;

/// Part of a quota that is given back beyond what is needed, as a divisor: eviction looks at the whole index, so that it
/// had better be rare.
const SPARE_DIVISOR: u64 = 32;

/// The quotas of sites, by the number that the site's objects carry. A site that is not named has no bound but the
/// disk's own.
#[derive(Clone, Debug, Default)]
pub struct Quotas(HashMap<u16, u64>);

/// What has to happen before a site's object may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// It fits.
    Fits,
    /// So many bytes of the site have to go first; some more than needed.
    Evict(u64),
    /// It is larger than all the site may have on this disk.
    Never,
}

impl Quotas {
    /// Quotas in bytes.
    pub fn new(quotas: impl IntoIterator<Item = (u16, u64)>) -> Quotas {
        Quotas(quotas.into_iter().collect())
    }

    /// The shares of these quotas on a disk of `size` bytes among disks of `all` bytes together.
    pub fn share(&self, size: u64, all: u64) -> Quotas {
        let share = |quota: u64| u128::from(quota) * u128::from(size) / u128::from(all.max(1));
        let bytes = |quota: u64| u64::try_from(share(quota)).unwrap_or(u64::MAX);
        Quotas(self.0.iter().map(|(site, quota)| (*site, bytes(*quota))).collect())
    }

    /// The sites that have a quota, and their quotas in bytes.
    pub fn sites(&self) -> impl Iterator<Item = (u16, u64)> {
        self.0.iter().map(|(site, quota)| (*site, *quota))
    }

    /// Whether `new` bytes of `site` may be added to the `used` ones.
    pub fn room(&self, site: u16, used: u64, new: u64) -> Room {
        let Some(quota) = self.0.get(&site) else { return Room::Fits };
        if new > *quota {
            return Room::Never;
        }
        match used.saturating_add(new).saturating_sub(*quota) {
            0 => Room::Fits,
            excess => Room::Evict(excess.saturating_add(quota / SPARE_DIVISOR)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_held_to_its_share_of_each_disk_and_others_are_not_held() {
        let quotas = Quotas::new([(7, 1000)]).share(1, 4);
        assert_eq!(quotas.room(7, 0, 250), Room::Fits);
        assert_eq!(quotas.room(7, 200, 60), Room::Evict(10 + 250 / SPARE_DIVISOR));
        assert_eq!(quotas.room(7, 0, 251), Room::Never);
        assert_eq!(quotas.room(8, u64::MAX, u64::MAX), Room::Fits);
    }

    #[test]
    fn shares_of_all_disks_never_exceed_the_quota() {
        let quotas = Quotas::new([(1, u64::MAX)]);
        let sizes = [3_u64 << 40, 5 << 40, 7];
        let all = sizes.iter().sum();
        let shares: u128 = sizes.iter().map(|size| u128::from(quotas.share(*size, all).0[&1])).sum();
        assert!(shares <= u128::from(u64::MAX), "{shares}");
    }
}
