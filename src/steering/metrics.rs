//! What is counted of steering: where players are sent, and what they say of the pathways they have used.

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::Steering;

/// Bounds of `forebay_steering_throughput_bits_per_second`: from the lowest rung of a ladder to several of the highest.
const THROUGHPUT_BUCKETS: &[f64] = &[0.25e6, 0.5e6, 1e6, 2e6, 4e6, 8e6, 16e6, 32e6, 64e6, 128e6, 256e6];

/// The metric families of steering.
pub struct SteeringFamilies {
    given: IntCounterVec,
    throughput: HistogramVec,
    overloaded: IntGaugeVec,
    egress: IntGauge,
}

/// The handles of one site, by the places of its pathways.
pub struct SteeringSeries {
    given: Vec<IntCounter>,
    throughput: Vec<Histogram>,
}

impl SteeringFamilies {
    /// Makes the families and registers them.
    ///
    /// # Errors
    /// When a family of the same name is registered already.
    pub fn new(registry: &Registry) -> Result<SteeringFamilies, prometheus::Error> {
        let labels = &["site", "pathway"];
        let families = SteeringFamilies {
            given: IntCounterVec::new(
                Opts::new(
                    "forebay_steering_total",
                    "Steering manifests, by the pathway that they name first.",
                ),
                labels,
            )?,
            throughput: HistogramVec::new(
                HistogramOpts::new(
                    "forebay_steering_throughput_bits_per_second",
                    "Throughput that players say they have had on a pathway.",
                )
                .buckets(THROUGHPUT_BUCKETS.to_vec()),
                labels,
            )?,
            overloaded: IntGaugeVec::new(
                Opts::new(
                    "forebay_steering_overloaded",
                    "1 while load puts this node's own pathway last, else 0.",
                ),
                &["steering"],
            )?,
            egress: IntGauge::new(
                "forebay_steering_egress_bits_per_second",
                "Bits of bodies sent to viewers and other nodes in a second, on the average of 10 seconds; only where steering has a bound for it.",
            )?,
        };
        registry.register(Box::new(families.given.clone()))?;
        registry.register(Box::new(families.throughput.clone()))?;
        registry.register(Box::new(families.overloaded.clone()))?;
        registry.register(Box::new(families.egress.clone()))?;
        Ok(families)
    }

    /// The handles of the site called `site`.
    pub fn of_site(&self, site: &str, steering: &Steering) -> SteeringSeries {
        let labels = || steering.pathways().iter().map(|pathway| [site, pathway.id.as_str()]);
        SteeringSeries {
            given: labels().map(|labels| self.given.with_label_values(&labels)).collect(),
            throughput: labels().map(|labels| self.throughput.with_label_values(&labels)).collect(),
        }
    }

    /// The gauge of what is sent.
    pub fn egress(&self) -> &IntGauge {
        &self.egress
    }

    /// The gauge of one section.
    pub fn overloaded(&self, steering: &Steering) -> IntGauge {
        self.overloaded.with_label_values(&[steering.name()])
    }
}

impl SteeringSeries {
    /// A manifest names the pathway at `place` first.
    pub fn given(&self, place: usize) {
        self.given.get(place).into_iter().for_each(IntCounter::inc);
    }

    /// A player says what it had on the pathway at `place`, in bits per second.
    pub fn throughput(&self, place: usize, bits_per_second: u64) {
        #[allow(clippy::cast_precision_loss, reason = "bounded far below 53 bits")]
        let value = bits_per_second as f64;
        self.throughput.get(place).into_iter().for_each(|histogram| histogram.observe(value));
    }
}
