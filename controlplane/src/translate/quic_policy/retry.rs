//! Retry (RFC 9000 8.1.2), which all listeners of a port share: it comes before a ClientHello
//! is read, whose server name tells them apart.

use tidegate_proto::v1;

use super::Target;

/// What the policies on a port's listeners say of Retry, the one to be preferred first.
pub(super) struct Claims<'a>(pub(super) Vec<(&'a Target, v1::RetryMode)>);

impl Claims<'_> {
    /// What holds for the port, if any says something.
    pub(super) fn chosen(&self) -> Option<v1::RetryMode> {
        self.0.first().map(|(_, mode)| *mode)
    }

    /// Those that say something else than the first one. A broader policy gives way to a narrower
    /// one by its nature (`rank`); nobody need be told.
    pub(super) fn outvoted(&self, rank: impl Fn(&Target) -> u8) -> Vec<(Target, Target)> {
        let Some((winner, chosen)) = self.0.first() else {
            return Vec::new();
        };
        let losers = self
            .0
            .iter()
            .filter(|(loser, mode)| mode != chosen && rank(loser) == rank(winner));
        losers
            .map(|(loser, _)| (Target::clone(loser), Target::clone(winner)))
            .collect()
    }
}

/// What the options of a port's listeners say, where no policy does: a listener that asks for
/// proof gets it.
pub(super) fn of_options(modes: impl Iterator<Item = v1::RetryMode>) -> v1::RetryMode {
    modes.fold(v1::RetryMode::Unspecified, |chosen, mode| {
        match (chosen, mode) {
            (v1::RetryMode::Always, _) | (_, v1::RetryMode::Always) => v1::RetryMode::Always,
            (v1::RetryMode::Unspecified, mode) => mode,
            (chosen, _) => chosen,
        }
    })
}
