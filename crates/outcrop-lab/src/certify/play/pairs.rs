//! Rounds straight to an upstream in turns with rounds through the gateway, so that the machine's moods hit both.

use std::sync::Arc;

use super::{PlayError, Recorder, Stage, remixed};
use crate::{
    bedrock,
    certify::scenario::Paired,
    load::{
        call::{Call, Mix},
        credential::Credential,
        drive::{Driver, Phase},
    },
};

impl Stage<'_> {
    /// Plays all rounds; which kind begins changes from round to round.
    pub(super) async fn rounds(
        &self,
        paired: &Paired,
        through: &Arc<Recorder>,
        direct: &Arc<Recorder>,
    ) -> Result<(), PlayError> {
        let Some((lab, _)) = self.house else { return Err(PlayError::NeedsLab) };
        let base = lab.url(&paired.target)?;
        let direct_mix =
            remixed(&self.mix, |call| Call { model: paired.model.clone(), operation: None, ..call.clone() })?;
        let mut through = self.driver(&self.base, &self.credential, through)?;
        let mut direct = self.driver(&base, &credential(&paired.target), direct)?;
        for round in 0..paired.rounds {
            if round % 2 == 0 {
                self.round(&mut direct, &direct_mix, round).await?;
                self.round(&mut through, &self.mix, round).await?;
            } else {
                self.round(&mut through, &self.mix, round).await?;
                self.round(&mut direct, &direct_mix, round).await?;
            }
        }
        Ok(())
    }

    async fn round(&self, driver: &mut Driver, mix: &Arc<Mix>, round: u32) -> Result<(), PlayError> {
        for phase in &self.scenario.phases {
            // Both kinds of a round have the same due times.
            let schedule = phase.arrivals.schedule(phase.length, self.scenario.seed + u64::from(round));
            driver.play(Phase { number: round as u16, schedule, mix: Arc::clone(mix) }).await?;
        }
        driver.drain().await;
        Ok(())
    }
}

/// Who may ask an upstream of the lab.
fn credential(target: &str) -> Credential {
    match target {
        "openai" => Credential::Bearer("outcrop-lab-openai-key".to_owned()),
        "anthropic" => Credential::ApiKey("outcrop-lab-anthropic-key".to_owned()),
        "fra" | "dub" => Credential::Bearer(bedrock::BEARER.to_owned()),
        _ => Credential::None,
    }
}
