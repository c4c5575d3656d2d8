//! The limiters of several workers and the balance between them, driven in
//! virtual time: a step is a millisecond, and the balance runs every ten.

use super::*;

const CLIENT: &str = "192.0.2.7";
/// What passes in a second more than the limit, for W workers: W - 1 at most.
const WORKERS: usize = 4;
const LIMIT: u32 = 100;

struct Simulation {
    limiters: Vec<Limiter>,
    balance: Balance,
    millisecond: u64,
}

impl Simulation {
    fn new(workers: usize, options: Options) -> Simulation {
        let (limiters, balance) = limiters(&options, workers, [7; 16]);
        Simulation {
            limiters,
            balance,
            millisecond: 1_700_000_000_000,
        }
    }

    fn of(workers: usize, limit: u32) -> Simulation {
        let options = Options {
            limit,
            entries: 1 << 10,
            ..Options::default()
        };
        Simulation::new(workers, options)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.millisecond)
    }

    fn ask(&self, worker: usize, client: &str, about: About<'_>) -> Verdict {
        self.limiters[worker].judge(client.parse().unwrap(), about, self.now())
    }

    fn passes(&self, worker: usize) -> bool {
        self.ask(worker, CLIENT, name(1)) == Verdict::Pass
    }

    /// Lets seconds go by, from the start of one; `asked` is how many requests
    /// for one name come to a worker in a millisecond of a second. Returns what
    /// passes in each.
    fn run(&mut self, seconds: usize, mut asked: impl FnMut(usize, u64) -> u32) -> Vec<u32> {
        self.millisecond = self.millisecond.next_multiple_of(1000);
        let mut passed = vec![0; seconds];
        for passed in &mut passed {
            for millisecond in 0..1000 {
                for worker in 0..self.limiters.len() {
                    let asked = asked(worker, millisecond);
                    *passed += (0..asked).filter(|_| self.passes(worker)).count() as u32;
                }
                self.millisecond += 1;
                if millisecond % 10 == 9 {
                    self.balance.run(self.now().as_secs());
                }
            }
        }
        passed
    }
}

fn name(hash: u64) -> About<'static> {
    About {
        source: Source::Name,
        name: hash,
        zone: None,
        request: &[],
    }
}

#[track_caller]
fn assert_within(passed: &[u32], least: u32, most: u32) {
    let fits = |passed: &u32| (least..=most).contains(passed);
    assert!(passed.iter().all(fits), "{passed:?}, not {least} to {most}");
}

#[test]
fn one_flow_on_one_worker_gets_nearly_the_whole_limit() {
    for (workers, limit) in [(1, 100), (2, 100), (4, 100), (16, 200), (4, 5), (64, 1000)] {
        let mut simulation = Simulation::of(workers, limit);
        let passed = simulation.run(3, |worker, _| 20 * u32::from(worker == 0));
        assert_within(&passed, limit - limit / 20, limit);
    }
}

#[test]
fn an_even_flood_over_all_workers_gets_the_limit() {
    for (workers, limit) in [(2, 100), (4, 101), (16, 200), (64, 1000)] {
        let mut simulation = Simulation::of(workers, limit);
        let passed = simulation.run(2, |_, _| 5);
        assert_within(&passed, limit, limit + workers as u32 - 1);
    }
}

#[test]
fn a_limit_below_the_number_of_workers_is_rounded_up_to_it() {
    let passed = Simulation::of(16, 5).run(3, |_, _| 5);
    assert_eq!(passed, [16, 16, 16]);
}

#[test]
fn a_flow_that_stays_below_the_limit_loses_nothing() {
    for workers in [1, 2, 4, 16, 25] {
        let mut simulation = Simulation::of(workers, 263);
        let passed = simulation.run(3, |worker, at| u32::from(worker == 0 && at % 4 == 0));
        assert_eq!(passed, [250; 3], "{workers} workers");
    }
}

#[test]
fn what_one_worker_was_lent_is_not_there_for_another() {
    // Each worker in turn, as flows that begin at another time of the second.
    let mut simulation = Simulation::of(WORKERS, LIMIT);
    let passed = simulation.run(5, |worker, at| 10 * u32::from(at / 250 == worker as u64));
    assert_within(&passed, LIMIT - 5, LIMIT + WORKERS as u32 - 1);
    // All together, after one was alone.
    let passed = simulation.run(5, |worker, at| 10 * u32::from(worker == 0 || at > 500));
    assert_within(&passed, LIMIT - 5, LIMIT + WORKERS as u32 - 1);
}

#[test]
fn floods_of_any_shape_stay_within_the_limit() {
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        (seed >> 33) as u32
    };
    for workers in [2, 3, 8, 32] {
        let mut simulation = Simulation::of(workers, LIMIT);
        let weights: Vec<u32> = (0..workers).map(|_| random() % 4).collect();
        let passed = simulation.run(8, |worker, _| match random() % 3 {
            0 => random() % (1 + weights[worker]),
            _ => 0,
        });
        assert_within(&passed, LIMIT / 2, LIMIT + workers as u32 - 1);
    }
}

#[test]
fn two_windows_side_by_side_pass_twice_the_limit_and_no_more() {
    let mut simulation = Simulation::of(WORKERS, LIMIT);
    let passed = simulation.run(2, |worker, at| {
        // The end of the first second and the beginning of the second.
        20 * u32::from(worker == 0 && !(300..=700).contains(&at))
    });
    assert_within(&passed, LIMIT - 5, LIMIT);
}

#[test]
fn without_a_balance_a_worker_has_its_share() {
    let simulation = Simulation::of(WORKERS, LIMIT);
    let passed = (0..1000).filter(|_| simulation.passes(0)).count();
    assert_eq!(passed, 25);
}

#[test]
fn the_balance_has_nothing_to_do_where_nobody_is_near_the_limit() {
    let mut simulation = Simulation::of(WORKERS, LIMIT);
    for worker in 0..WORKERS {
        assert!((0..18).all(|_| simulation.passes(worker)));
    }
    assert!(!simulation.balance.run(simulation.now().as_secs()));
    assert!(simulation.passes(0));
    assert!(simulation.balance.run(simulation.now().as_secs()));
    // What is said of a second that is over is of no use.
    assert!(simulation.passes(1));
    assert!(!simulation.balance.run(simulation.now().as_secs() + 1));
}

#[test]
fn reports_that_are_lost_are_made_again() {
    let mut simulation = Simulation::of(WORKERS, LIMIT);
    // Other names of the same worker fill the channel.
    for other in 2..2000 {
        for _ in 0..19 {
            simulation.ask(0, CLIENT, name(other));
        }
    }
    let before = (0..1000).filter(|_| simulation.passes(0)).count();
    assert!(before <= 25);
    simulation.balance.run(simulation.now().as_secs());
    assert!((0..32).all(|_| !simulation.passes(0)));
    simulation.balance.run(simulation.now().as_secs());
    assert!(simulation.passes(0));
}

#[test]
fn replies_are_told_apart_by_prefix_and_by_what_they_say() {
    let simulation = Simulation::of(1, 1);
    let once = |client: &str, about: About<'_>| {
        assert_eq!(simulation.ask(0, client, about), Verdict::Pass, "{client}");
    };
    let again = |client: &str, about: About<'_>| {
        assert_ne!(simulation.ask(0, client, about), Verdict::Pass, "{client}");
    };
    once("192.0.2.1", name(1));
    again("192.0.2.255", name(1));
    once("192.0.3.1", name(1));
    once("192.0.2.1", name(2));
    once("2001:db8::1", name(1));
    again("2001:db8:0:ff:ffff::", name(1));
    once("2001:db8:0:100::", name(1));
    let server = |hash| About {
        source: Source::Server,
        ..name(hash)
    };
    once("192.0.2.1", server(1));
    again("192.0.2.1", server(2));
    // Names below a wildcard, in any case of their letters.
    let head = [0; HEADER];
    let question = |text: &[u8]| [&head[..], text].concat();
    let (one, two) = (
        question(b"\x01a\x01w\x04test\0\0\x01\0\x01"),
        question(b"\x03bcd\x01W\x04TEST\0\0\x01\0\x01"),
    );
    let above = |request, start| About {
        source: Source::Above(start),
        request,
        ..name(3)
    };
    once("192.0.2.1", above(&one, 2));
    again("192.0.2.1", above(&two, 4));
    once("192.0.2.1", above(&one, 4));
}

#[test]
fn some_of_what_is_withheld_slips() {
    for (slip, slipped) in [(0, 0), (1, 100), (2, 50), (3, 33), (10, 10)] {
        let options = Options {
            limit: 1,
            slip,
            ..Options::default()
        };
        let simulation = Simulation::new(1, options);
        assert!(simulation.passes(0));
        let verdicts = (0..100).map(|_| simulation.ask(0, CLIENT, name(1)));
        let found = verdicts.filter(|verdict| *verdict == Verdict::Slip).count();
        assert_eq!(found, slipped, "--rate-limit-slip {slip}");
    }
}

#[test]
fn the_exempt_are_not_limited() {
    let options = Options {
        limit: 1,
        exempt: vec!["192.0.2.0/29".parse().unwrap(), "::/0".parse().unwrap()],
        ..Options::default()
    };
    let simulation = Simulation::new(2, options);
    let all = |client| (0..50).all(|_| simulation.ask(0, client, name(1)) == Verdict::Pass);
    assert!(all("192.0.2.7") && all("2001:db8::1"));
    assert!(!all("192.0.2.8"));
}

#[test]
fn a_flood_from_everywhere_costs_an_innocent_prefix_nothing() {
    // 4,000 prefixes in a table for 1,024, at five replies a second each.
    let mut simulation = Simulation::of(1, 100);
    for round in 0..5 {
        for prefix in 0..4000 {
            let client = format!("10.{}.{}.1", prefix / 256, prefix % 256);
            simulation.ask(0, &client, name(1));
        }
        let pass = (0..10).all(|_| simulation.passes(0));
        assert!(pass, "in round {round}");
    }
    simulation.millisecond += 1000;
    assert!((0..100).all(|_| simulation.passes(0)));
}

#[test]
fn prefixes_are_read() {
    for good in [
        "192.0.2.1",
        "0.0.0.0/0",
        "192.0.2.0/24",
        "::1",
        "2001:db8::/32",
    ] {
        assert!(good.parse::<Prefix>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "192.0.2",
        "192.0.2.0/33",
        "::/129",
        "::/x",
        "::/-1",
        "1.2.3.4/",
    ] {
        assert!(bad.parse::<Prefix>().is_err(), "{bad}");
    }
    let all: Prefix = "0.0.0.0/0".parse().unwrap();
    assert!(all.holds("255.0.0.1".parse().unwrap()) && !all.holds("::1".parse().unwrap()));
}
