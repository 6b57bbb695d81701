//! Landlock: the files and ports that the program stays on.

use super::plan::Plan;
use super::{Layer, Standing};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, Scope, path_beneath_rules,
};

/// Rights to files as they were known when this was written. Those of later kernels are left out
/// until somebody has thought about them: what names are asked by, path sockets, is among them.
const FILES_ABI: ABI = ABI::V5;

/// Gives up all files and ports but those of the plan.
pub(super) fn stay_on(plan: &Plan) -> Vec<(Layer, Standing)> {
    let mut layers = offered();
    let is_on = |layer| {
        layers
            .iter()
            .any(|(other, standing)| *other == layer && standing.is_ok())
    };
    let (files, network, scope) = (
        is_on(Layer::Files),
        is_on(Layer::Network),
        is_on(Layer::Scope),
    );
    if let Err(error) = restrict(plan, files, network, scope) {
        for (_, standing) in layers.iter_mut().filter(|(_, standing)| standing.is_ok()) {
            *standing = Err(error.to_string());
        }
    }
    layers
}

/// What this kernel has.
pub(super) fn offered() -> Vec<(Layer, Standing)> {
    let asked = || Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    vec![
        (
            Layer::Files,
            known(asked().handle_access(AccessFs::ReadFile), "5.13"),
        ),
        (
            Layer::Network,
            known(asked().handle_access(AccessNet::ConnectTcp), "6.7"),
        ),
        (Layer::Scope, known(asked().scope(Scope::Signal), "6.12")),
    ]
}

fn known(asked: Result<Ruleset, RulesetError>, since: &str) -> Standing {
    asked.map(drop).map_err(|_| {
        format!("this kernel has no such part of Landlock (Linux {since}), or it is switched off")
    })
}

fn restrict(plan: &Plan, files: bool, network: bool, scope: bool) -> Result<(), RulesetError> {
    if !files && !network && !scope {
        return Ok(());
    }
    let mut rules = Ruleset::default();
    if files {
        rules = rules.handle_access(AccessFs::from_all(FILES_ABI))?;
    }
    if network {
        rules = rules.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp)?;
    }
    if scope {
        rules = rules.scope(scopes(plan))?;
    }
    let mut rules = rules.create()?;
    if files {
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        rules = rules
            .add_rules(path_beneath_rules(&plan.read, read))?
            .add_rules(path_beneath_rules(&plan.read_files_in, AccessFs::ReadFile))?
            .add_rules(path_beneath_rules(
                [plan.written(), plan.mounted_in()].into_iter().flatten(),
                read | changes(),
            ))?;
    }
    if network {
        let ports = plan.ports.iter();
        rules = rules.add_rules(
            ports.map(|port| Ok::<_, RulesetError>(NetPort::new(*port, AccessNet::ConnectTcp))),
        )?;
    }
    rules.restrict_self().map(drop)
}

/// What keepers do to their files.
fn changes() -> BitFlags<AccessFs> {
    AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
}

fn scopes(plan: &Plan) -> BitFlags<Scope> {
    match plan.talks_to_abstract_sockets {
        true => Scope::Signal.into(),
        false => Scope::Signal | Scope::AbstractUnixSocket,
    }
}
