//! Results: all runs as JSON, a table of the medians, and two plots.

use crate::Result;
use crate::messages::Messages;
use crate::peers::Peer;
use crate::run::{Cores, Run};
use serde::Serialize;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Between these stands the table in the README.
const README_BEGIN: &str = "<!-- by cargo bench --bench compare -- --readme -->";
const README_END: &str = "<!-- end -->";

/// What it was measured on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    program_cores: String,
    memory_mib: u64,
    kernel: String,
    date: String,
    commit: String,
}

impl Machine {
    pub(crate) fn read(cores: &Cores) -> Result<Machine> {
        let after = |file: &str, name: &str| -> String {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = after("/proc/meminfo", "MemTotal");
        let kib: u64 = memory
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let commit = Command::new("git")
            .args(["describe", "--always", "--dirty"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let today =
            jiff::Timestamp::from_nanosecond(cefline::clock::Clock::start().wall().0.into())?;
        Ok(Machine {
            processor: after("/proc/cpuinfo", "model name"),
            cores: cores.count,
            program_cores: cores.program.clone(),
            memory_mib: kib / 1024,
            kernel: kernel.split(['-', '\n']).next().unwrap_or_default().into(),
            date: today.strftime("%Y-%m-%d").to_string(),
            commit: String::from_utf8(commit.stdout)?.trim().into(),
        })
    }
}

impl Machine {
    pub(crate) fn date(&self) -> &str {
        &self.date
    }

    /// All of it, for a reader.
    pub(crate) fn line(&self) -> String {
        format!(
            "{}, {} cores, {} MiB, Linux {}; {} at commit {}.",
            self.processor, self.cores, self.memory_mib, self.kernel, self.date, self.commit,
        )
    }
}

#[derive(Debug, Serialize)]
struct Part {
    name: String,
    version: String,
    work: String,
}

#[derive(Debug, Serialize)]
struct LeftOut {
    name: String,
    why: String,
}

/// All of it.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    message_bytes_mean: usize,
    programs: Vec<Part>,
    left_out: Vec<LeftOut>,
    runs: Vec<Run>,
}

impl Report {
    pub(crate) fn new(machine: Machine, messages: &Messages) -> Report {
        Report {
            machine,
            message_bytes_mean: messages.bytes(messages.count()) / messages.count(),
            programs: Vec::new(),
            left_out: Vec::new(),
            runs: Vec::new(),
        }
    }

    pub(crate) fn took_part(&mut self, peer: &Peer, version: String) {
        self.programs.push(Part {
            name: peer.name.into(),
            version,
            work: peer.work.into(),
        });
    }

    pub(crate) fn left_out(&mut self, peer: &Peer, why: String) {
        self.left_out.push(LeftOut {
            name: peer.name.into(),
            why,
        });
    }

    pub(crate) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    fn of<'r>(&'r self, name: &'r str, load: &'r str, delay: u64) -> impl Iterator<Item = &'r Run> {
        self.runs
            .iter()
            .filter(move |run| run.peer == name && run.load == load && run.delay_ms == delay)
    }

    /// Its rate flat out: the median of its runs.
    pub(crate) fn rate_of(&self, name: &str, delay: u64) -> f64 {
        median(self.of(name, "flat out", delay).map(|run| run.rate))
    }

    /// Puts the short table where the README has it.
    pub(crate) fn write_readme(&self) -> Result<()> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let text = fs::read_to_string(&file)?;
        let (before, rest) = text
            .split_once(README_BEGIN)
            .ok_or("no place in the README")?;
        let (_, after) = rest.split_once(README_END).ok_or("no end of the place")?;
        let table = self.readme_table()?;
        fs::write(
            &file,
            format!("{before}{README_BEGIN}\n{table}{README_END}{after}"),
        )?;
        Ok(())
    }

    fn readme_table(&self) -> Result<String> {
        let mut text = format!(
            "{} {} bytes a message, the program on core {}:\n\n\
             | | CPU-seconds a million | times cefline | events/s | peak memory | rows right | but for escapes or quotes | p99 at half its rate |\n\
             |---|---|---|---|---|---|---|---|\n",
            self.machine.line(),
            self.message_bytes_mean,
            self.machine.program_cores,
        );
        for part in &self.programs {
            let name = part.name.as_str();
            let runs: Vec<&Run> = self.of(name, "flat out", 0).collect();
            let all: u64 = runs.iter().map(|run| run.messages as u64).sum();
            let percent = |these: u64| 100.0 * these as f64 / all.max(1) as f64;
            let half = self.of(name, "50 %", 0).next();
            let p99 = half
                .and_then(|run| run.latency_ms)
                .map_or(f64::NAN, |ms| ms[1]);
            let bold = if name == "cefline" { "**" } else { "" };
            writeln!(
                text,
                "| {bold}{name}{bold} | {bold}{:.1}{bold} | {:.1} | {:.0} | {:.0} MiB | {:.1} % | {:.1} % | {p99:.0} ms |",
                self.cost(name),
                self.cost(name) / self.cost("cefline"),
                self.rate_of(name, 0),
                median(runs.iter().map(|run| run.peak_kib as f64)) / 1024.0,
                percent(runs.iter().map(|run| run.answers.right).sum()),
                percent(runs.iter().map(|run| run.answers.nearly).sum()),
            )?;
        }
        Ok(text)
    }

    /// Writes the files; a test only prints.
    pub(crate) fn write(&self, is_test: bool) -> Result<()> {
        let table = self.table()?;
        println!("\n{table}");
        if is_test {
            return Ok(());
        }
        let usual = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare/results");
        let folder = std::env::var("CEFLINE_COMPARE_OUT").map_or(usual, PathBuf::from);
        fs::create_dir_all(&folder)?;
        let file = |ending: &str| folder.join(format!("{}{ending}", self.machine.date));
        fs::write(file(".json"), serde_json::to_string_pretty(self)? + "\n")?;
        fs::write(file(".md"), table)?;
        fs::write(file("-cpu.svg"), self.cpu_plot()?)?;
        fs::write(file("-latency.svg"), self.latency_plot()?)?;
        println!("written: {}", file(".{json,md,svg}").display());
        Ok(())
    }

    fn table(&self) -> Result<String> {
        let mut text = format!(
            "{} Programs on core {}, sender and sink on the others. {} bytes a message, TCP and HTTPS on \
             loopback, medians of rounds.\n\n",
            self.machine.line(),
            self.machine.program_cores,
            self.message_bytes_mean,
        );
        text += "| | CPU-seconds a million | times cefline | events/s | the same, sink 80 ms | peak memory | rows right | but for escapes or quotes | wrong | missing | doubled |\n";
        text += "|---|---|---|---|---|---|---|---|---|---|---|\n";
        let ours = self.cost("cefline");
        for part in &self.programs {
            let name = part.name.as_str();
            let runs: Vec<&Run> = self.of(name, "flat out", 0).collect();
            let share = |part: fn(&Run) -> u64| {
                let all: u64 = runs.iter().map(|run| run.messages as u64).sum();
                let these: u64 = runs.iter().map(|run| part(run)).sum();
                format!("{:.2} %", 100.0 * these as f64 / all.max(1) as f64)
            };
            let cost = self.cost(name);
            writeln!(
                text,
                "| {name} | {cost:.2} | {:.1} | {:.0} | {} | {:.0} MiB | {} | {} | {} | {} | {} |",
                cost / ours,
                self.rate_of(name, 0),
                match self.rate_of(name, 80) {
                    rate if rate.is_finite() => format!("{rate:.0}"),
                    _ => "not run".to_owned(),
                },
                median(runs.iter().map(|run| run.peak_kib as f64)) / 1024.0,
                share(|run| run.answers.right),
                share(|run| run.answers.nearly),
                share(|run| run.answers.wrong),
                share(|run| run.answers.missing),
                share(|run| run.answers.doubled),
            )?;
        }
        self.latency_table(&mut text)?;
        text += "\n";
        for part in &self.programs {
            writeln!(
                text,
                "- **{}** ({}): {}.",
                part.name, part.version, part.work
            )?;
        }
        for part in &self.left_out {
            writeln!(text, "- {}: not compared: {}.", part.name, part.why)?;
        }
        Ok(text)
    }

    fn latency_table(&self, text: &mut String) -> Result<()> {
        let mut loads: Vec<(u64, &str)> = Vec::new();
        for run in self.runs.iter().filter(|run| run.latency_ms.is_some()) {
            if !loads.contains(&(run.delay_ms, run.load.as_str())) {
                loads.push((run.delay_ms, &run.load));
            }
        }
        if loads.is_empty() {
            return Ok(());
        }
        text.push_str(
            "\nLatency p50 / p99 / p99.9 in milliseconds, and CPU-seconds a million:\n\n|",
        );
        for (delay, load) in &loads {
            write!(text, " | {load} of its rate, sink {delay} ms")?;
        }
        writeln!(text, " |\n|---|{}", "---|".repeat(loads.len()))?;
        for part in &self.programs {
            write!(text, "| {}", part.name)?;
            for (delay, load) in &loads {
                match self.of(&part.name, load, *delay).next() {
                    Some(run) => {
                        let [p50, p99, p999] = run.latency_ms.unwrap_or_default();
                        let cost = run.cpu_of_a_million();
                        write!(text, " | {p50:.0} / {p99:.0} / {p999:.0}; {cost:.1}")?;
                    }
                    None => text.push_str(" | "),
                }
            }
            text.push_str(" |\n");
        }
        Ok(())
    }

    /// CPU-seconds a million, flat out.
    fn cost(&self, name: &str) -> f64 {
        median(self.of(name, "flat out", 0).map(Run::cpu_of_a_million))
    }

    fn cpu_plot(&self) -> Result<String> {
        let bars = self
            .programs
            .iter()
            .map(|part| (part.name.clone(), self.cost(&part.name)));
        bars_plot(
            "CPU-seconds for a million events (less is better)",
            bars.collect(),
        )
    }

    fn latency_plot(&self) -> Result<String> {
        let runs = self.runs.iter().filter(|run| run.latency_ms.is_some());
        let bars = runs.map(|run| {
            let name = format!("{}, {}, sink {} ms", run.peer, run.load, run.delay_ms);
            (name, run.latency_ms.unwrap_or_default()[1])
        });
        bars_plot(
            "p99 in milliseconds, at a part of each one's own rate",
            bars.collect(),
        )
    }
}

/// Lying bars with their values.
fn bars_plot(title: &str, bars: Vec<(String, f64)>) -> Result<String> {
    const LEFT: f64 = 220.0;
    const WIDE: f64 = 420.0;
    const HIGH: f64 = 24.0;
    let most = bars.iter().map(|(_, value)| *value).fold(1e-9, f64::max);
    let height = 50.0 + HIGH * bars.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" \
         fill=\"white\"/>\n<text x=\"10\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    for (index, (name, value)) in bars.iter().enumerate() {
        let y = 40.0 + HIGH * index as f64;
        let wide = (WIDE * value / most).max(1.0);
        let fill = if name.starts_with("cefline") {
            "#1f77b4"
        } else {
            "#b0b0b0"
        };
        writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text><rect x=\"{LEFT}\" y=\"{y}\" \
             width=\"{wide:.1}\" height=\"18\" fill=\"{fill}\"/><text x=\"{:.1}\" y=\"{}\">{value:.1}</text>",
            LEFT - 8.0,
            y + 14.0,
            LEFT + wide + 6.0,
            y + 14.0,
        )?;
    }
    svg += "</svg>\n";
    Ok(svg)
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
