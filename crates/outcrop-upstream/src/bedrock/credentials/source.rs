//! Where credentials come from: the providers of aws-config, used for nothing but this.

use std::sync::Arc;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use secrecy::{ExposeSecret, SecretString};

/// Where credentials come from.
pub(crate) enum Source {
    /// Keys that never change.
    Fixed(Credentials),
    /// The AWS SDK's own search.
    Chain { region: Region },
    /// A profile of the AWS configuration files.
    Profile { name: String, region: Region },
    /// A role, by ARN.
    Role { arn: String, region: Region },
}

impl Source {
    /// Keys out of the configuration.
    pub(crate) fn fixed(id: &str, secret: &SecretString, session: Option<&SecretString>) -> Self {
        let session = session.map(|token| token.expose_secret().to_owned());
        Self::Fixed(Credentials::new(id, secret.expose_secret(), session, None, "configuration"))
    }

    /// Gets credentials; the error is a text for the log.
    pub(crate) async fn fetch(&self) -> Result<Credentials, Arc<str>> {
        let provided = match self {
            Self::Fixed(credentials) => Ok(credentials.clone()),
            Self::Chain { region } => {
                let chain = DefaultCredentialsChain::builder().region(region.clone()).build();
                chain.await.provide_credentials().await
            }
            Self::Profile { name, region } => {
                let config = ProviderConfig::without_region().with_region(Some(region.clone()));
                ProfileFileCredentialsProvider::builder()
                    .configure(&config)
                    .profile_name(name)
                    .build()
                    .provide_credentials()
                    .await
            }
            Self::Role { arn, region } => {
                let base =
                    aws_config::defaults(BehaviorVersion::latest()).region(region.clone()).load().await;
                let provider = AssumeRoleProvider::builder(arn)
                    .configure(&base)
                    .region(region.clone())
                    .session_name("outcrop")
                    .build()
                    .await;
                provider.provide_credentials().await
            }
        };
        provided.map_err(|error| Arc::from(describe(&error)))
    }
}

fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |e| (*e).source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
