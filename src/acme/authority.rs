//! One order at an authority (RFC 8555, section 7.1): the account, the order, the proof, the certificate.

use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, Key, NewAccount, NewOrder, Order, OrderStatus,
    RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use time::OffsetDateTime;

use super::cache::Cache;
use super::challenge::{Answering, Challenge, proof};
use super::settings::Settings;
use super::shown::Held;
use super::web::{Told, Web};
use crate::pem;
use crate::shown::{chain_of, printable};

/// How long an authority may take to look whether we have the name, and to issue the certificate.
const POLLED_FOR: Duration = Duration::from_secs(90);

/// A number that the authority gave was used already, or is too old (RFC 8555, section 6.5).
const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// What an order brought.
pub(super) struct Ordered {
    /// The key and the certificates.
    pub(super) pem: String,
    pub(super) held: Held,
}

/// Whose fault a failure is, by which it is tried again sooner or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Our own folder's.
    Folder,
    /// The authority cannot be reached, or is broken.
    Away,
    /// It refuses: it counts such orders.
    Refused,
}

/// Why there is no certificate.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) fault: Fault,
    pub(super) cause: String,
    /// How long the authority asks not to be asked again.
    pub(super) pause: Option<Duration>,
}

impl Failed {
    pub(super) fn of_folder(cause: String) -> Failed {
        Failed { fault: Fault::Folder, cause, pause: None }
    }

    fn refused(cause: impl Into<String>) -> Failed {
        Failed { fault: Fault::Refused, cause: cause.into(), pause: None }
    }

    fn of(error: &Error) -> Failed {
        let fault = match error {
            // Several in a row: an authority of several servers that is out of step.
            Error::Api(problem) if problem.r#type.as_deref() == Some(BAD_NONCE) => Fault::Away,
            Error::Api(problem) if problem.status.is_none_or(|status| status < 500) => Fault::Refused,
            // The library's list is open; all else is about the way there, or an answer that is none.
            _ => Fault::Away,
        };
        Failed { fault, cause: chain_of(error), pause: None }
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::of(&error)
    }
}

/// Runs what reads or writes the folder on a thread that may wait for it.
pub(super) async fn in_folder<T: Send + 'static>(
    cache: &Arc<Cache>,
    work: impl FnOnce(&Cache) -> Result<T, String> + Send + 'static,
) -> Result<T, Failed> {
    let cache = Arc::clone(cache);
    let done = tokio::task::spawn_blocking(move || work(&cache)).await;
    done.unwrap_or_else(|died| Err(died.to_string())).map_err(Failed::of_folder)
}

/// Orders a certificate.
///
/// # Errors
/// There is none, and why.
pub(super) async fn order(
    settings: &Settings,
    cache: &Arc<Cache>,
    challenge: &Challenge,
    now: OffsetDateTime,
) -> Result<Ordered, Failed> {
    let told = Arc::<Told>::default();
    let asked = Asked { settings, cache, challenge, told: Arc::clone(&told) };
    asked.order(now).await.map_err(|failed| Failed { pause: told.pause(), ..failed })
}

struct Asked<'a> {
    settings: &'a Settings,
    cache: &'a Arc<Cache>,
    challenge: &'a Challenge,
    told: Arc<Told>,
}

impl<'a> Asked<'a> {
    async fn order(&self, now: OffsetDateTime) -> Result<Ordered, Failed> {
        let host = &self.settings.host;
        let account = self.account().await?;
        let names = [Identifier::Dns(host.clone())];
        let mut order = account.new_order(&NewOrder::new(&names)).await?;
        let _answering = self.begin_proof(&mut order).await?;
        let polled = RetryPolicy::new().timeout(POLLED_FOR);
        match order.poll_ready(&polled).await {
            Ok(OrderStatus::Ready | OrderStatus::Valid) => {}
            Ok(OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Invalid) => {
                return Err(Failed::refused(self.why_invalid(&mut order).await));
            }
            Err(Error::Api(problem)) => {
                let found = self.why_invalid(&mut order).await;
                return Err(Failed::refused(format!("{}: {found}", printable(&problem.to_string()))));
            }
            Err(error) => return Err(error.into()),
        }
        let (request, key) = signing_request(host)
            .map_err(|cause| Failed::of_folder(format!("the key of the certificate could not be made: {cause}")))?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&polled).await?;
        let pem = format!("{}{chain}", pem::write("PRIVATE KEY", key.serialized_der()));
        let held = Held::from_pem(pem.as_bytes(), host)
            .map_err(|what| Failed::refused(format!("what the authority has issued is not of use: {what}")))?;
        if held.not_after <= now {
            let cause = "the certificate that the authority has issued has ended already by this machine's clock; set the clock";
            return Err(Failed::refused(cause));
        }
        Ok(Ordered { pem, held })
    }

    /// The account that the key of the folder is for, or a new one.
    async fn account(&self) -> Result<Account, Failed> {
        let Settings { email, directory_url, authorities, .. } = self.settings;
        let web = Web::new(authorities.as_ref(), &self.told)
            .map_err(|cause| Failed::of_folder(format!("server.letsencrypt.ca_certificate: {cause}")))?;
        let builder = Account::builder_with_http(Box::new(web));
        let contact = format!("mailto:{email}");
        match in_folder(self.cache, Cache::account_key).await? {
            Some(key) => {
                let own = Key::from_pkcs8_der(key.clone_key())?;
                let known = builder.create_from_key((own, PrivateKeyDer::Pkcs8(key)), directory_url.to_string());
                let (account, _) = known.await?;
                // Another authority may not know the address yet, or it was changed. None depends on it.
                if let Err(cause) = account.update_contacts(&[&contact]).await {
                    tracing::debug!(cause = %printable(&cause.to_string()), "the authority does not take the address of the account");
                }
                Ok(account)
            }
            None => {
                let new =
                    NewAccount { contact: &[&contact], terms_of_service_agreed: true, only_return_existing: false };
                let (account, made) = builder.create(&new, directory_url.to_string(), None).await?;
                let key = made.private_key().clone_key();
                in_folder(self.cache, move |cache| cache.keep_account_key(&key)).await?;
                Ok(account)
            }
        }
    }

    /// Puts the proof where the authority looks for it, and says that it is there. Nothing where it needs none.
    async fn begin_proof(&self, order: &mut Order) -> Result<Option<Answering<'a>>, Failed> {
        let mut answering = None;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                AuthorizationStatus::Invalid
                | AuthorizationStatus::Revoked
                | AuthorizationStatus::Expired
                | AuthorizationStatus::Deactivated => {
                    return Err(Failed::refused("the authority has given up the order"));
                }
            }
            let mut challenge = authorization.challenge(ChallengeType::TlsAlpn01).ok_or_else(|| {
                Failed::refused("the authority does not offer tls-alpn-01, the one challenge that is answered here")
            })?;
            let digest = challenge.key_authorization().digest().as_ref().to_vec();
            let pem = proof(&self.settings.host, &digest).map_err(Failed::of_folder)?;
            let begun = self.challenge.begin(&pem);
            answering =
                Some(begun.ok_or_else(|| Failed::of_folder("the proof for the authority is not of use".to_owned()))?);
            in_folder(self.cache, move |cache| cache.keep_challenge(&pem)).await?;
            challenge.set_ready().await?;
        }
        Ok(answering)
    }

    /// Why the authority does not believe us.
    async fn why_invalid(&self, order: &mut Order) -> String {
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            if let Ok(state) = authorization.refresh().await
                && let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.as_ref())
            {
                return format!(
                    "{}; the authority connects to port 443 of {}, which must lead to this server's port with TLS passed through",
                    printable(&problem.to_string()),
                    self.settings.host
                );
            }
        }
        "the authority did not say why it does not issue the certificate".to_owned()
    }
}

/// A new key, and the request for a certificate of it.
fn signing_request(host: &str) -> Result<(Vec<u8>, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::new(vec![host.to_owned()])?;
    params.distinguished_name = DistinguishedName::new();
    let key = KeyPair::generate()?;
    Ok((params.serialize_request(&key)?.der().to_vec(), key))
}
