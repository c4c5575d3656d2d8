//! From a master file to zones that can be served. Run as
//! `cargo bench --bench load`.

mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use shardns::zone::{self, text::Library};
use support::{SIZES, zone_file};

fn load(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("load");
    for names in SIZES {
        let path = zone_file(names);
        group.throughput(Throughput::Elements(names as u64));
        group.bench_function(BenchmarkId::from_parameter(names), |bencher| {
            bencher.iter(|| zone::load(Library::Disk, &path, None).unwrap())
        });
        std::fs::remove_file(path).unwrap();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = load
}
criterion_main!(benches);
