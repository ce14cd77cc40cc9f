//! What the node has to do, as content steering goes by it: looked at once a second, and told to every section of steering.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::IntGauge;

use super::connections::Connections;
use super::stations::Ground;
use crate::observe::Observer;
use crate::proxy::Steerer;
use crate::site::{Site, Sites};
use crate::steering::egress::{Egress, Rate};
use crate::steering::{Load, SteeringFamilies};

/// Time between two looks.
const LOAD_EVERY: Duration = Duration::from_secs(1);

/// What is told of the load.
pub(super) struct LoadGauges {
    /// By the sections of steering.
    overloaded: Vec<IntGauge>,
    egress: IntGauge,
}

/// What steering asks of the node, and the gauges of its load.
pub(super) fn steerer(
    ground: &Ground<'_>,
    sites: &Sites,
) -> Result<(Steerer, Option<LoadGauges>), prometheus::Error> {
    if sites.steering().is_empty() {
        return Ok((Steerer { ready: Arc::new(|| true), series: Vec::new(), egress: None }, None));
    }
    let families = SteeringFamilies::new(ground.metrics.registry())?;
    let of_site =
        |site: &Arc<Site>| site.steering.as_ref().map(|steering| families.of_site(&site.name, steering));
    let series = sites.all().iter().map(of_site).collect();
    let gauges = sites.steering().iter().map(|steering| families.overloaded(steering)).collect();
    let readiness = Arc::clone(&ground.readiness);
    let counts = sites.steering().iter().any(|steering| steering.bounds().egress.is_some());
    let egress = counts.then(|| Arc::new(Egress::default()));
    let gauges = LoadGauges { overloaded: gauges, egress: families.egress().clone() };
    Ok((Steerer { ready: Arc::new(move || readiness.is_ready()), series, egress }, Some(gauges)))
}

/// Tells steering of the load until the runtime ends; ends at once where no load matters.
pub(super) async fn watch(
    sites: Arc<Sites>,
    gauges: Option<LoadGauges>,
    egress: Option<Arc<Egress>>,
    observer: Arc<Observer>,
    connections: Arc<Connections>,
) {
    let bounds = || sites.steering().iter().map(|steering| steering.bounds());
    let by_viewers = bounds().any(|bounds| bounds.viewers.is_some());
    let by_connections = bounds().any(|bounds| bounds.connections.is_some());
    let Some(gauges) = gauges.filter(|_| by_viewers || by_connections || egress.is_some()) else { return };
    let mut rate = Rate::default();
    loop {
        let viewers = if by_viewers { observer.viewers.snapshot(Instant::now()) } else { Vec::new() };
        let load = Load {
            viewers: viewers.iter().map(|stream| stream.viewers).sum(),
            connections: connections.open() as u64,
            egress: egress.as_ref().map_or(0, |egress| rate.observe(egress.bytes(), Instant::now())),
        };
        gauges.egress.set(i64::try_from(load.egress).unwrap_or(i64::MAX));
        for (steering, gauge) in sites.steering().iter().zip(&gauges.overloaded) {
            gauge.set(i64::from(steering.observe(&load)));
        }
        tokio::time::sleep(LOAD_EVERY).await;
    }
}
