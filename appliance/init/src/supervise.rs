//! Keeps cefline running: starts it, hears it, ends it when it is silent, starts it again, and stops
//! it when somebody wishes so. The one loop of PID 1.
//!
//! ```text
//!          start             READY=1              STOPPING=1, or SIGTERM from us
//! (wait) -------> starting -----------> running --------------------------------> stopping
//!    ^               | START_TIME          | WATCHDOG_TIME                            | STOP_TIME
//!    '------ ended <-'---------------------'------------------------------------------'  SIGKILL
//! ```
//!
//! [`Vigil`] and [`Backoff`] are pure: time is an argument.

use crate::configuration::{CEFLINE_TOML, FOLDER};
use crate::console::{self, Allowance, Easel, Screen, Tail};
use crate::notify::{EXTENSION_MOST, Mailbox, Notice};
use crate::stop::{Ending, Wishes};
use crate::{clock, confine};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, WaitStatus, kill_process, kill_process_group, pidfd_open,
    wait,
};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// From the start to READY=1; cefline may ask for more.
const START_TIME: Duration = Duration::from_secs(90);
/// Between two signs of life. cefline gives one only while all its loops go round.
pub const WATCHDOG_TIME: Duration = Duration::from_secs(15);
/// From READY=1 until the system may be called good: one that falls over its first message is not.
const PROOF_TIME: Duration = WATCHDOG_TIME;
/// From the wish to the end; cefline asks for as much as its configuration allows.
const STOP_TIME: Duration = Duration::from_secs(45);
/// Before the second start; doubles with each.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// At most.
const PAUSE_MOST: Duration = Duration::from_secs(60);
/// Who has run so long has recovered.
const RECOVERED: Duration = Duration::from_secs(600);
/// A slot on trial must prove itself within this time.
const TRIAL_TIME: Duration = Duration::from_secs(150);
/// And with no more starts than these.
const TRIAL_STARTS: u64 = 3;
/// A run of the checks after the start.
const ERRAND_TIME: Duration = Duration::from_secs(300);
/// How often the loop goes round if nothing happens.
const TURN: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// Notices that are heard before other things have their turn.
const NOTICES_A_TURN: usize = 64;
/// Hardware watchdogs bite after 10 s at the earliest.
const FEED_PERIOD: Duration = Duration::from_secs(5);
/// Bytes of one line; longer ones become several.
const LINE_BYTES: u64 = 4096;
/// For the last lines of a program that has ended.
const LAST_LINES_TIME: Duration = Duration::from_secs(1);
/// Where cefline's notices arrive.
pub const MAILBOX: &str = "/run/notify";

// ---- what is known of a run

/// What is known of a run of cefline, and until when it must say something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vigil {
    began_at: Duration,
    phase: Phase,
    phase_since: Duration,
    deadline: Duration,
    /// It has been killed, and ought to be gone.
    is_forced: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Starting,
    Running,
    Stopping,
}

impl Vigil {
    /// It has been started.
    #[must_use]
    pub fn begin(now: Duration) -> Self {
        Vigil {
            began_at: now,
            phase: Phase::Starting,
            phase_since: now,
            deadline: now + START_TIME,
            is_forced: false,
        }
    }

    /// Hears it. True if it has become ready.
    pub fn hear(&mut self, notice: &Notice, now: Duration) -> bool {
        match (notice, self.phase) {
            (Notice::Ready, Phase::Starting) => {
                (self.phase, self.phase_since) = (Phase::Running, now);
                self.deadline = now + WATCHDOG_TIME;
                return true;
            }
            (Notice::Alive | Notice::Ready, Phase::Running) => self.deadline = now + WATCHDOG_TIME,
            (Notice::Stopping, Phase::Starting | Phase::Running) => self.stop(now),
            (Notice::Extend(time), Phase::Starting | Phase::Stopping) => {
                // however often it asks
                let latest = self.phase_since + EXTENSION_MOST;
                self.deadline = self.deadline.max(now + *time).min(latest);
            }
            _ => {}
        }
        false
    }

    /// It has been asked to stop, or stops by itself.
    pub fn stop(&mut self, now: Duration) {
        (self.phase, self.phase_since) = (Phase::Stopping, now);
        self.deadline = now + STOP_TIME;
    }

    /// Whether it has done well for some time after it became ready.
    #[must_use]
    pub fn is_proven(&self, now: Duration) -> bool {
        let is_due = now >= self.phase_since + PROOF_TIME;
        self.phase == Phase::Running && is_due && self.overdue(now).is_none()
    }

    /// Why it must be ended by force, if so.
    #[must_use]
    pub fn overdue(&self, now: Duration) -> Option<&'static str> {
        let reason = match self.phase {
            Phase::Starting => "cefline has not become ready in time",
            Phase::Running => "cefline has given no sign of life in time",
            Phase::Stopping => "cefline has not stopped in time",
        };
        (now >= self.deadline).then_some(reason)
    }
}

/// How long to wait before the next start.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { next: PAUSE_FIRST }
    }
}

impl Backoff {
    /// After a run of this length.
    pub fn after(&mut self, run: Duration) -> Duration {
        if run >= RECOVERED {
            self.next = PAUSE_FIRST;
        }
        let pause = self.next;
        self.next = (pause * 2).min(PAUSE_MOST);
        pause
    }
}

// ---- the loop

/// A child of ours.
#[derive(Debug)]
struct Child {
    pid: Pid,
    /// Becomes readable when it ends.
    handle: OwnedFd,
    /// Copies its lines.
    lines: JoinHandle<Tail>,
}

/// Something that cefline does once after its first start, beside itself.
#[derive(Debug)]
pub struct Errand {
    /// Begins its lines.
    pub name: &'static str,
    /// Arguments of cefline.
    pub arguments: &'static [&'static str],
}

/// What to do besides keeping cefline running.
pub struct Orders<'o> {
    /// Why cefline is not to be started, if so.
    pub refusal: Option<String>,
    /// Once, when cefline is ready for the first time: its number.
    pub when_ready: &'o mut dyn FnMut(u32),
    /// Once, when it has proven that it works. The machine may have to end then.
    pub when_proven: &'o mut dyn FnMut() -> Option<Ending>,
    /// After that, one after the other.
    pub errands: VecDeque<Errand>,
    /// What the screen shows of all that is not known here.
    pub screen: &'o dyn Fn() -> Screen,
    /// The slot is on trial, and there is another: if it does not prove itself the machine restarts.
    pub is_on_trial: bool,
    /// cefline attacks its own sandbox, if it was built for that, and the machine ends with it.
    pub is_test: bool,
}

/// What the loop knows.
struct Keeper<'k, 'o> {
    orders: Orders<'o>,
    mailbox: &'k Mailbox,
    wishes: &'k mut Wishes,
    cefline: Option<(Child, Vigil)>,
    errand: Option<(Child, Errand, Duration)>,
    backoff: Backoff,
    began_at: Duration,
    start_at: Option<Duration>,
    starts: u64,
    was_ready: bool,
    is_proven: bool,
    ending: Option<Ending>,
    state: String,
    traffic: String,
    easel: Easel,
    watchdog: Option<File>,
    fed_at: Duration,
}

/// Keeps cefline running until the machine is to end.
pub fn keep(mailbox: &Mailbox, wishes: &mut Wishes, orders: Orders<'_>) -> Ending {
    let is_refused = orders.refusal.is_some();
    let mut keeper = Keeper {
        state: orders.refusal.clone().unwrap_or_default(),
        orders,
        mailbox,
        wishes,
        cefline: None,
        errand: None,
        backoff: Backoff::default(),
        began_at: clock::since_boot(),
        start_at: (!is_refused).then_some(Duration::ZERO),
        starts: 0,
        was_ready: false,
        is_proven: false,
        ending: None,
        traffic: "none yet".into(),
        easel: Easel::default(),
        watchdog: OpenOptions::new().write(true).open("/dev/watchdog").ok(),
        fed_at: Duration::ZERO,
    };
    loop {
        if let Some(ending) = keeper.turn(clock::since_boot()) {
            // it stays open, and bites if the end takes longer than a minute
            std::mem::forget(keeper.watchdog);
            return ending;
        }
        keeper.wait();
    }
}

impl Keeper<'_, '_> {
    fn turn(&mut self, now: Duration) -> Option<Ending> {
        for _ in 0..NOTICES_A_TURN {
            let Some(notices) = self.mailbox.hear() else {
                break;
            };
            notices
                .into_iter()
                .for_each(|notice| self.hear(notice, now));
        }
        self.reap(now);
        self.end_by_force(now);
        if let Some(ending) = self.wishes.heard() {
            self.stop(ending, now);
        }
        if self.ending.is_some() && self.cefline.is_none() {
            if let Some((child, ..)) = &self.errand {
                end_all_of(child.pid);
            }
            return self.ending;
        }
        if self.start_at.is_some_and(|at| now >= at) && self.ending.is_none() {
            self.start(now);
        }
        self.start_errand(now);
        self.prove(now);
        self.judge(now);
        self.feed(now);
        self.draw(now);
        None
    }

    fn prove(&mut self, now: Duration) {
        let has_proven = |(_, vigil): &(Child, Vigil)| vigil.is_proven(now);
        if self.is_proven || !self.cefline.as_ref().is_some_and(has_proven) {
            return;
        }
        self.is_proven = true;
        if let Some(ending) = (self.orders.when_proven)() {
            self.stop(ending, now);
        }
    }

    /// Ends a trial that has failed: the boot loader counts it.
    fn judge(&mut self, now: Duration) {
        let has_failed = now >= self.began_at + TRIAL_TIME
            || (self.starts >= TRIAL_STARTS && self.cefline.is_none());
        let is_on_trial = self.orders.is_on_trial && !self.is_proven && self.ending.is_none();
        if is_on_trial && has_failed {
            console::complain("update: this slot does not prove itself, so it has one try less");
            self.stop(Ending::Restart, now);
        }
    }

    fn wait(&self) {
        let mut descriptors = vec![PollFd::new(&self.mailbox.socket, PollFlags::IN)];
        descriptors.extend(self.wishes.poll_descriptors());
        let children = self.cefline.iter().map(|(child, _)| child);
        let children = children.chain(self.errand.iter().map(|(child, ..)| child));
        descriptors.extend(children.map(|child| PollFd::new(&child.handle, PollFlags::IN)));
        // a signal or a fault: the next turn comes a little early
        let _ = poll(&mut descriptors, Some(&TURN));
    }

    fn hear(&mut self, notice: Notice, now: Duration) {
        let Some((child, vigil)) = &mut self.cefline else {
            return;
        };
        if vigil.hear(&notice, now) {
            let (id, restarts) = (child.pid.as_raw_nonzero().get(), self.starts - 1);
            let seconds = now.as_secs_f64();
            self.state = format!("ready since {seconds:.1} s after the boot, {restarts} restarts");
            if self.was_ready {
                console::say("cefline is ready again");
            } else {
                self.was_ready = true;
                console::say(format_args!("READY in {seconds:.1} s"));
                (self.orders.when_ready)(id.unsigned_abs());
            }
        }
        if let Notice::Status(text) = notice {
            self.traffic = text;
        }
    }

    fn start(&mut self, now: Duration) {
        self.start_at = None;
        self.starts += 1;
        let path = format!("{FOLDER}/{CEFLINE_TOML}");
        let mut environment = vec![
            ("NOTIFY_SOCKET", MAILBOX.to_owned()),
            ("WATCHDOG_USEC", WATCHDOG_TIME.as_micros().to_string()),
        ];
        if self.orders.is_test {
            environment.push(("CEFLINE_SELF_ATTACK", "1".into()));
        }
        match spawn(&["run", "--config", &path], environment, "cefline: ") {
            Ok(child) => {
                self.state = "starting".into();
                self.cefline = Some((child, Vigil::begin(now)));
            }
            Err(error) => {
                let pause = self.backoff.after(Duration::ZERO);
                self.start_at = Some(now + pause);
                self.state = format!("cefline cannot be started, next in {} s", pause.as_secs());
                console::complain(format_args!("{}: {error}", self.state));
            }
        }
    }

    /// Errands wait until cefline is ready, and for each other.
    fn start_errand(&mut self, now: Duration) {
        if !self.was_ready || self.errand.is_some() || self.ending.is_some() {
            return;
        }
        let Some(errand) = self.orders.errands.pop_front() else {
            return;
        };
        let prefix = format!("appliance: {} ", errand.name);
        match spawn(errand.arguments, Vec::new(), &prefix) {
            Ok(child) => self.errand = Some((child, errand, now + ERRAND_TIME)),
            Err(error) => console::say(format_args!("{} cannot be started: {error}", errand.name)),
        }
    }

    /// Takes leave of all that have ended, also of those that were never ours: PID 1 inherits them.
    fn reap(&mut self, now: Duration) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if let Some((child, vigil)) = self.cefline.take_if(|(child, _)| child.pid == pid) {
                end_all_of(pid);
                self.note_end(last_lines(child), vigil, status, now);
            }
            if let Some((child, errand, _)) = self.errand.take_if(|(child, ..)| child.pid == pid) {
                end_all_of(pid);
                let _ = last_lines(child);
                console::say(format_args!(
                    "{} ended with {}",
                    errand.name,
                    text_of(status)
                ));
            }
        }
    }

    fn note_end(&mut self, tail: Tail, vigil: Vigil, status: WaitStatus, now: Duration) {
        let how = text_of(status);
        if self.orders.is_test {
            console::say(format_args!("cefline ended with {how}"));
            self.ending.get_or_insert(Ending::PowerOff);
        }
        if self.ending.is_some() {
            return;
        }
        let pause = self.backoff.after(now.saturating_sub(vigil.began_at));
        self.start_at = Some(now + pause);
        self.state = format!("ended with {how}, next start in {} s", pause.as_secs());
        let what = format!("cefline {}", self.state);
        console::say(&what);
        console::note_error(&format!("{what}: {}", tail.text()));
    }

    fn end_by_force(&mut self, now: Duration) {
        if let Some((child, vigil)) = &mut self.cefline
            && let Some(reason) = vigil.overdue(now)
        {
            console::complain(format_args!("{reason}: it is ended by force"));
            end_all_of(child.pid);
            // it is gone in a moment, or stuck in the kernel for ever
            if vigil.is_forced && self.ending.is_some() {
                self.cefline = None;
            } else {
                vigil.stop(now);
                vigil.is_forced = true;
            }
        }
        if let Some((child, _, deadline)) = &mut self.errand
            && now >= *deadline
        {
            end_all_of(child.pid);
            *deadline = now + ERRAND_TIME;
        }
    }

    /// The second wish makes cefline stop at once.
    fn stop(&mut self, ending: Ending, now: Duration) {
        console::say("stopping");
        self.state = "stopping".into();
        self.ending.get_or_insert(ending);
        if let Some((child, vigil)) = &mut self.cefline {
            let _ = kill_process(child.pid, Signal::TERM);
            vigil.stop(now);
        }
    }

    /// Feeds the watchdog of the hardware: this loop goes round.
    fn feed(&mut self, now: Duration) {
        if now.saturating_sub(self.fed_at) >= FEED_PERIOD
            && let Some(watchdog) = &mut self.watchdog
        {
            self.fed_at = now;
            let _ = watchdog.write_all(&[0]);
        }
    }

    fn draw(&mut self, now: Duration) {
        let screen = Screen {
            state: self.state.clone(),
            traffic: self.traffic.clone(),
            last_error: console::last_error(),
            ..(self.orders.screen)()
        };
        if let Some(text) = self.easel.due(&screen, now) {
            console::draw(&text);
        }
    }
}

// ---- children

/// Starts cefline, confined.
fn spawn(arguments: &[&str], environment: Vec<(&str, String)>, prefix: &str) -> io::Result<Child> {
    let (mut command, pipe) = confine::command(arguments)?;
    command.envs(environment);
    let prefix = prefix.to_owned();
    let lines = thread::Builder::new().name("lines".into());
    let lines = lines.spawn(move || copy_lines(pipe, &prefix))?;
    // it is reaped with all others, so the handle of the standard library is not kept
    let id = command.spawn()?.id();
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("a process without a number"))?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(handle) => Ok(Child { pid, handle, lines }),
        Err(error) => {
            // one that nobody knows of must not run beside the next
            end_all_of(pid);
            Err(error.into())
        }
    }
}

/// Copies lines to the console until the program ends; some are left out if there are too many.
fn copy_lines(pipe: io::PipeReader, prefix: &str) -> Tail {
    let mut reader = BufReader::new(pipe);
    let mut allowance = Allowance::full(clock::since_boot());
    let mut tail = Tail::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader
            .by_ref()
            .take(LINE_BYTES)
            .read_until(b'\n', &mut line)
        {
            Ok(0) | Err(_) => return tail,
            Ok(_) => {}
        }
        let text = match std::str::from_utf8(line.trim_ascii_end()) {
            Ok(text) => text.to_owned(),
            Err(_) => line.escape_ascii().to_string(),
        };
        if text.is_empty() {
            continue;
        }
        tail.push(&text);
        if let Some(error) = console::error_in(&text) {
            console::note_error(error);
        }
        if let Some(left_out) = allowance.take(prefix.len() + text.len(), clock::since_boot()) {
            if left_out > 0 {
                console::say(format_args!(
                    "{left_out} lines of cefline were left out here"
                ));
            }
            console::pass_on(prefix, &text);
        }
    }
}

/// What a program has said last. One that left its pipe to another is not waited for.
fn last_lines(child: Child) -> Tail {
    let until = clock::since_boot() + LAST_LINES_TIME;
    while !child.lines.is_finished() {
        if clock::since_boot() >= until {
            return Tail::default();
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.lines.join().unwrap_or_default()
}

/// Ends a program by force, and all that it has started: it is the first of a group of its own. What
/// it left behind would hold its ports.
fn end_all_of(pid: Pid) {
    // it is gone already, and so are they
    let _ = kill_process_group(pid, Signal::KILL);
}

fn text_of(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::process::CommandExt as _;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn running() -> Vigil {
        let mut vigil = Vigil::begin(at(0));
        assert!(vigil.hear(&Notice::Ready, at(10)));
        vigil
    }

    #[test]
    fn a_start_has_its_time_and_more_if_it_asks() {
        let mut vigil = Vigil::begin(at(5));
        assert_eq!(vigil.overdue(at(94)), None);
        assert!(vigil.overdue(at(95)).unwrap().contains("ready"));
        vigil.hear(&Notice::Extend(at(60)), at(90));
        assert_eq!(vigil.overdue(at(149)), None);
        vigil.hear(&Notice::Extend(at(1)), at(90));
        assert_eq!(vigil.overdue(at(149)), None);
        assert!(vigil.overdue(at(150)).is_some());
        assert!(vigil.hear(&Notice::Ready, at(149)));
    }

    #[test]
    fn who_runs_must_give_a_sign_of_life_within_the_watchdogs_time() {
        let mut vigil = running();
        assert_eq!(vigil.overdue(at(24)), None);
        assert!(vigil.overdue(at(25)).unwrap().contains("sign of life"));
        assert!(!vigil.hear(&Notice::Alive, at(24)));
        assert_eq!(vigil.overdue(at(38)), None);
        assert!(vigil.overdue(at(39)).is_some());
        // neither talk nor a wish for time is one
        vigil.hear(&Notice::Status("x".into()), at(38));
        vigil.hear(&Notice::Extend(at(99)), at(38));
        assert!(vigil.overdue(at(39)).is_some());
    }

    #[test]
    fn who_has_given_a_sign_of_life_long_after_ready_is_proven() {
        let mut vigil = running();
        assert!(!vigil.is_proven(at(10)));
        vigil.hear(&Notice::Alive, at(11));
        assert!(!vigil.is_proven(at(24)));
        assert!(vigil.is_proven(at(25)));
        assert!(!running().is_proven(at(25)), "it was silent since");
        vigil.hear(&Notice::Stopping, at(25));
        assert!(!vigil.is_proven(at(25)));
        assert!(!Vigil::begin(at(0)).is_proven(at(25)));
    }

    #[test]
    fn ready_after_a_reload_is_a_sign_of_life_and_nothing_new() {
        let mut vigil = running();
        assert!(!vigil.hear(&Notice::Ready, at(20)));
        assert_eq!(vigil.overdue(at(34)), None);
    }

    #[test]
    fn who_stops_has_as_much_time_as_it_asks_for() {
        let mut vigil = running();
        vigil.hear(&Notice::Stopping, at(20));
        assert_eq!(vigil.overdue(at(64)), None);
        assert!(vigil.overdue(at(65)).unwrap().contains("stopped"));
        vigil.hear(&Notice::Extend(at(100)), at(20));
        // a sign of life does not prolong it
        vigil.hear(&Notice::Alive, at(119));
        assert!(vigil.overdue(at(120)).is_some());
        // we asked, and it answers: the time it names counts
        let mut asked = running();
        asked.stop(at(20));
        asked.hear(&Notice::Stopping, at(21));
        asked.hear(&Notice::Extend(at(100)), at(21));
        assert_eq!(asked.overdue(at(120)), None);
    }

    #[test]
    fn who_asks_for_more_time_again_and_again_gets_it_once() {
        let mut vigil = running();
        vigil.stop(at(20));
        for minute in 0..200 {
            vigil.hear(&Notice::Extend(at(120)), at(20 + 60 * minute));
        }
        assert!(vigil.overdue(at(20) + EXTENSION_MOST).is_some());
        let mut vigil = Vigil::begin(at(5));
        for minute in 0..200 {
            vigil.hear(&Notice::Extend(at(120)), at(5 + 60 * minute));
        }
        assert!(vigil.overdue(at(5) + EXTENSION_MOST).is_some());
    }

    #[test]
    fn what_a_program_leaves_behind_ends_with_it() {
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", "sleep 100 & echo $!"]).process_group(0);
        let mut child = shell.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut line).unwrap();
        child.wait().unwrap();
        let left = Pid::from_raw(line.trim().parse().unwrap()).unwrap();
        end_all_of(pid);
        let is_there = || {
            let status = std::fs::read_to_string(format!("/proc/{left}/stat")).unwrap_or_default();
            !status.is_empty() && !status.contains(" Z ")
        };
        for _ in 0..100 {
            if !is_there() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("{left} is still there");
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u64> = (0..8).map(|_| backoff.after(at(1)).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.after(at(599)), at(60));
        assert_eq!(backoff.after(at(600)), at(1));
        assert_eq!(backoff.after(at(1)), at(2));
    }

    #[test]
    fn lines_of_a_program_are_kept_for_its_end() {
        let (reader, mut writer) = io::pipe().unwrap();
        let long = "x".repeat(10_000);
        let lines = format!("one\n\n{long}\n\u{1b}[31mtwo\nthree");
        let writing = thread::spawn(move || writer.write_all(lines.as_bytes()).unwrap());
        let tail = copy_lines(reader, "test: ").text();
        writing.join().unwrap();
        assert!(tail.ends_with("[31mtwo three"), "{tail}");
        assert!(!tail.contains(char::is_control));
    }

    proptest! {
        #[test]
        fn no_talk_keeps_a_stopping_program_alive_for_ever(talk in proptest::collection::vec((0..4u8, 0..100_000u64), 0..50)) {
            let mut vigil = running();
            vigil.stop(at(20));
            let mut now = at(20);
            for (kind, time) in talk {
                now += at(1);
                let notice = match kind {
                    0 => Notice::Ready,
                    1 => Notice::Alive,
                    2 => Notice::Stopping,
                    _ => Notice::Extend(at(time).min(at(4200))),
                };
                prop_assert!(!vigil.hear(&notice, now));
            }
            prop_assert!(vigil.overdue(at(20) + EXTENSION_MOST).is_some());
        }
    }
}
