//! `respond()` by kind of answer and size of zone, a batch's requests one by
//! one or together, under a rate limit, and on one to all threads. Run as
//! `cargo bench --bench respond`; `-- --quick` takes a minute.
//!
//! Names are asked for in random order, so that at a million names neither the
//! table nor the nodes are in the cache.

mod support;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shardns::server::rate_limit;
use shardns::wire::LookupName;
use shardns::zone::Zones;
use support::{BATCH, Kind, SIZES, limited, one_by_one, requests, together, zones};

fn kinds(criterion: &mut Criterion) {
    let mut out = vec![0; 1232];
    let mut name = LookupName::new();
    for names in SIZES {
        let zones = zones(names);
        let mut group = criterion.benchmark_group(format!("respond/{names}"));
        for kind in Kind::ALL {
            let requests = requests(names, kind, 4096);
            group.throughput(Throughput::Elements(requests.len() as u64));
            group.bench_function(kind.name(), |bencher| {
                bencher.iter(|| one_by_one(&zones, &requests, &mut name, &mut out))
            });
        }
    }
}

fn batches(criterion: &mut Criterion) {
    let mut out = vec![0; 1232];
    let mut lookups = vec![LookupName::new(); BATCH];
    let mut group = criterion.benchmark_group("batch");
    for names in SIZES {
        let zones = zones(names);
        // Many more names than the cache holds.
        let requests = requests(names, Kind::Hit, 200_000);
        group.throughput(Throughput::Elements(requests.len() as u64));
        group.bench_function(BenchmarkId::new("one by one", names), |bencher| {
            bencher.iter(|| one_by_one(&zones, &requests, &mut lookups[0], &mut out))
        });
        group.bench_function(BenchmarkId::new("together", names), |bencher| {
            bencher.iter(|| together(&zones, &requests, &mut lookups, &mut out))
        });
    }
}

/// What a rate limit costs that is not reached, with a few clients or with more
/// than a table has room for.
fn limits(criterion: &mut Criterion) {
    let (mut out, mut name) = (vec![0; 1232], LookupName::new());
    let zones = zones(1_000);
    let options = rate_limit::Options {
        limit: rate_limit::MAX_LIMIT,
        ..rate_limit::Options::default()
    };
    let (limiters, _balance) = rate_limit::limiters(&options, 2, [7; 16]);
    let mut group = criterion.benchmark_group("rate limit");
    for clients in [100, 100_000] {
        let requests = requests(1_000, Kind::Hit, clients);
        group.throughput(Throughput::Elements(requests.len() as u64));
        for (title, limiter) in [("off", None), ("on", limiters.first())] {
            let id = BenchmarkId::new(title, format!("{clients} clients"));
            group.bench_function(id, |bencher| {
                bencher.iter(|| limited(&zones, &requests, limiter, &mut name, &mut out))
            });
        }
    }
}

/// Time for the same work on each thread; with nothing shared it is the same
/// for any number up to that of the CPUs.
fn threads(criterion: &mut Criterion) {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let zones = zones(1_000_000);
    let requests = requests(1_000_000, Kind::Hit, 200_000);
    let mut group = criterion.benchmark_group("threads");
    for threads in 1..=cpus {
        group.throughput(Throughput::Elements((threads * requests.len()) as u64));
        group.bench_function(BenchmarkId::from_parameter(threads), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut longest = Duration::ZERO;
                for _ in 0..rounds {
                    longest += slowest_of(threads, &zones, &requests);
                }
                longest
            })
        });
    }
}

fn slowest_of(threads: usize, zones: &Zones, requests: &[Vec<u8>]) -> Duration {
    std::thread::scope(|scope| {
        let work = || {
            let (mut names, mut out) = (vec![LookupName::new(); BATCH], vec![0; 1232]);
            let start = Instant::now();
            together(zones, requests, &mut names, &mut out);
            start.elapsed()
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .max()
            .unwrap_or_default()
    })
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = kinds, batches, limits, threads
}
criterion_main!(benches);
