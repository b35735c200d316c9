//! A component behind HTTPS, its signature beside it.

use crate::{
    COMPONENT_BYTES_MAX, FetchError, Fetched, SignatureFile, Source,
    http::{Answer, Call, Http, host, status_error},
    signature,
};
use reqwest::{StatusCode, Url, header::LOCATION};
use salve_model::text::escape;

/// Most redirects, all within one host.
const REDIRECTS_MAX: u32 = 3;

pub(crate) async fn fetch(url: &Url, http: &Http<'_>) -> Result<Fetched, FetchError> {
    http.tell(&format!("fetches {}", escape(url.as_str(), 200)));
    let (call, answer) = get("fetch the component", url, COMPONENT_BYTES_MAX, http).await?;
    if !answer.status.is_success() {
        return Err(status_error(&call, answer.status, &answer.body, false));
    }
    let mut beside = url.clone();
    beside.set_path(&format!("{}.sig", url.path()));
    let (call, found) = get("fetch the signature", &beside, signature::FILE_BYTES_MAX, http).await?;
    let signature = match found.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => None,
        status if status.is_success() => {
            let parsed = SignatureFile::parse(&found.body);
            Some(parsed.map_err(|source| FetchError::Signature { host: call.host(), source })?)
        }
        status => return Err(status_error(&call, status, &found.body, false)),
    };
    Ok(Fetched { bytes: answer.body, signature, source: Source::Https(url.clone()) })
}

/// Gets, and follows redirects that stay with the same host, port and scheme.
async fn get<'w>(
    what: &'w str,
    url: &Url,
    limit_bytes: u64,
    http: &Http<'_>,
) -> Result<(Call<'w>, Answer), FetchError> {
    let mut call = Call::get(what, url.clone(), limit_bytes);
    for _ in 0..=REDIRECTS_MAX {
        let answer = http.call(&call).await?;
        if !answer.status.is_redirection() {
            return Ok((call, answer));
        }
        let to = answer.headers.get(LOCATION).and_then(|to| call.url.join(to.to_str().ok()?).ok());
        match to {
            Some(to) if to.scheme() == url.scheme() && host(&to) == host(url) => call.url = to,
            to => return Err(redirected(&call, to.as_ref())),
        }
    }
    Err(redirected(&call, Some(&call.url)))
}

pub(crate) fn redirected(call: &Call<'_>, to: Option<&Url>) -> FetchError {
    let to = to.map_or_else(|| "nowhere".to_owned(), |to| escape(to.as_str(), 200));
    FetchError::Redirect { what: call.what.to_owned(), host: call.host(), to }
}
