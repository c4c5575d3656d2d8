//! Which CPU each worker takes: worker i the i-th CPU that the process may
//! use, round again where there are more workers than CPUs.

use core_affinity::CoreId;

/// More workers than this help nobody, and their sockets make a slow group.
pub const MAX_WORKERS: usize = 1024;

/// Where one worker runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    /// The CPU's number, as the kernel counts.
    pub cpu: usize,
    /// Whether the worker is held there.
    pub pinned: bool,
}

/// Why workers cannot be placed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// `--cpus` names a CPU outside of the affinity mask.
    #[error(
        "CPU {cpu} is not among those that this process may use ({allowed}); choose from these, \
            or widen its affinity or cpuset"
    )]
    NotAllowed {
        /// The CPU asked for.
        cpu: usize,
        /// The CPUs to choose from.
        allowed: String,
    },
    /// No worker, or more than `MAX_WORKERS`.
    #[error("{0} workers; there must be 1 to {MAX_WORKERS}")]
    Count(usize),
}

/// The CPUs of this thread's affinity mask, which cpusets narrow too.
pub fn allowed_cpus() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let mut cpus: Vec<usize> = cores.into_iter().map(|core| core.id).collect();
    cpus.sort_unstable();
    if cpus.is_empty() {
        cpus.push(0);
    }
    cpus
}

/// CPUs' worth of time that the process gets: the affinity mask's, or fewer
/// under a cgroup's quota.
pub fn usable_cpus() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| cpus.get())
}

/// Places the workers. Without a number there is one for each CPU of `chosen`,
/// else for each that the process may use; `usable` is the cgroup's word on
/// how many that are.
pub fn plan(
    workers: Option<usize>,
    chosen: Option<&[usize]>,
    pinned: bool,
    allowed: &[usize],
    usable: usize,
) -> Result<Vec<Seat>, PlacementError> {
    if let Some(&cpu) = chosen.and_then(|chosen| chosen.iter().find(|cpu| !allowed.contains(cpu))) {
        return Err(PlacementError::NotAllowed {
            cpu,
            allowed: show_list(allowed),
        });
    }
    let cpus = chosen.unwrap_or(allowed);
    let default = chosen.map_or(usable.min(allowed.len()), <[usize]>::len);
    let workers = workers.unwrap_or(default);
    if workers == 0 || workers > MAX_WORKERS || cpus.is_empty() {
        return Err(PlacementError::Count(workers));
    }
    let seats = cpus.iter().cycle().take(workers);
    Ok(seats.map(|&cpu| Seat { cpu, pinned }).collect())
}

/// Holds the calling thread on its CPU. False where the kernel refused.
pub fn take(seat: Seat) -> bool {
    !seat.pinned || core_affinity::set_for_current(CoreId { id: seat.cpu })
}

/// Reads a list of CPUs as the kernel writes them: `0,2-5`.
pub fn parse_list(text: &str) -> Result<Vec<usize>, String> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<u16>().ok().map(usize::from);
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => cpus.extend(first..=last),
            _ => {
                return Err(format!(
                    "`{part}` is no CPU and no rising range; write 0,2-5"
                ));
            }
        }
    }
    for (at, cpu) in cpus.iter().enumerate() {
        if cpus[..at].contains(cpu) {
            return Err(format!(
                "CPU {cpu} is there twice; use --workers for several workers on a CPU"
            ));
        }
    }
    Ok(cpus)
}

/// The inverse of `parse_list`, for rising lists.
pub fn show_list(cpus: &[usize]) -> String {
    let runs = cpus.chunk_by(|cpu, next| cpu + 1 == *next);
    let show = |run: &[usize]| match run {
        [only] => only.to_string(),
        [first, .., last] => format!("{first}-{last}"),
        [] => String::new(),
    };
    runs.map(show).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(seats: Result<Vec<Seat>, PlacementError>) -> Vec<usize> {
        seats.unwrap().iter().map(|seat| seat.cpu).collect()
    }

    #[test]
    fn one_worker_for_each_cpu_and_round_again() {
        let allowed = [1, 3, 4];
        assert_eq!(cpus(plan(None, None, true, &allowed, 3)), [1, 3, 4]);
        assert_eq!(cpus(plan(None, None, true, &allowed, 2)), [1, 3]);
        assert_eq!(cpus(plan(None, None, true, &allowed, 8)), [1, 3, 4]);
        assert_eq!(
            cpus(plan(Some(5), None, true, &allowed, 3)),
            [1, 3, 4, 1, 3]
        );
        assert_eq!(cpus(plan(None, Some(&[4, 1]), true, &allowed, 1)), [4, 1]);
        assert_eq!(
            cpus(plan(Some(3), Some(&[3]), false, &allowed, 3)),
            [3, 3, 3]
        );
    }

    #[test]
    fn what_cannot_be_placed() {
        let refused = plan(None, Some(&[3, 7]), true, &[1, 3, 4], 3).unwrap_err();
        assert!(
            refused.to_string().starts_with("CPU 7 is not among"),
            "{refused}"
        );
        assert!(refused.to_string().contains("(1,3-4)"), "{refused}");
        assert_eq!(
            plan(Some(0), None, true, &[0], 1),
            Err(PlacementError::Count(0))
        );
        assert!(plan(Some(MAX_WORKERS), None, true, &[0], 1).is_ok());
        assert!(plan(Some(MAX_WORKERS + 1), None, true, &[0], 1).is_err());
    }

    #[test]
    fn lists() {
        assert_eq!(parse_list("0,2-5"), Ok(vec![0, 2, 3, 4, 5]));
        assert_eq!(parse_list("7"), Ok(vec![7]));
        for broken in ["", "a", "1-", "5-2", "1,,2", "-1", "1,0-2", "99999"] {
            assert!(parse_list(broken).is_err(), "{broken}");
        }
        assert_eq!(show_list(&[0, 2, 3, 4, 7]), "0,2-4,7");
    }
}
