//! The Supervisor with real gateways behind it: what follows when one dies, and what is left when one has gone.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::actors::gateway::Misfortune;
use crate::http::control::status::GatewayView;

const PATIENCE: Duration = Duration::from_secs(40);

/// A service on a temporary folder, with one backend whose server does not answer.
struct Scene {
    folder: TempDir,
    started: Started,
    status: watch::Receiver<Arc<StatusView>>,
}

/// What is known of one generation.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    child: Child,
    address: SocketAddr,
    token: String,
}

fn config(base_port: u16, supervisor: &str) -> String {
    format!(
        "[backends.codex-subscription]\nenabled = false\n[backends.openai-api]\nenabled = false\n[backends.local]\n\
         kind = \"custom-openai\"\nbase_url = \"http://127.0.0.1:{base_port}/v1\"\ndefault_model = \"m\"\n\
         [supervisor]\ndebounce = \"10ms\"\nretire_after = \"1ms\"\n{supervisor}"
    )
}

const PATIENT: &str = "backoff_initial = \"300ms\"\n";
const STRICT: &str = "restart_intensity = 1\nbackoff_initial = \"1ms\"\nbackoff_max = \"1ms\"\n";

impl Scene {
    async fn start(supervisor: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("c.toml"), config(1, supervisor)).unwrap();
        Self::on(folder).await
    }

    async fn on(folder: TempDir) -> Self {
        let state = folder.path().join("state");
        let state = StateFolder::open(|name| (name == "CLAUDETTE_STATE_DIR").then(|| state.clone().into())).unwrap();
        let options = Options {
            config: Some(folder.path().join("c.toml")),
            mode: Mode::Service { folder: Arc::new(state) },
            log: "stderr".to_owned(),
        };
        let started = start(options).unwrap();
        let status = started.supervisor.send(Peek).await.unwrap().status;
        let mut scene = Self { folder, started, status };
        scene.until(|gateways| gateways.iter().any(|gateway| gateway.state == "serving")).await;
        scene
    }

    fn write(&self, text: &str) {
        fs::write(self.folder.path().join("c.toml"), text).unwrap();
    }

    /// Waits until what `status` says of the gateways fits.
    async fn until(&mut self, fits: impl Fn(&[GatewayView]) -> bool) {
        let waiting = self.status.wait_for(|view| fits(&view.gateways));
        drop(tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to that").unwrap());
    }

    async fn until_state(&mut self, state: &str, restarts: u64) {
        self.until(|gateways| {
            gateways.iter().any(|gateway| (gateway.state, gateway.restarts) == (state, restarts) && gateway.current)
        })
        .await;
    }

    async fn peek(&self) -> Peeked {
        self.started.supervisor.send(Peek).await.unwrap()
    }

    async fn only_place(&self) -> Place {
        let mut places = self.peek().await.places;
        assert_eq!(places.len(), 1, "{places:?}");
        places.remove(0)
    }

    async fn befall(&self, child: &Child, misfortune: Misfortune) {
        self.started.supervisor.send(Befall { child: child.clone(), misfortune }).await.unwrap();
    }

    fn signal(&self, signal: Signal) {
        self.started.events.send(Event::Signalled(signal)).unwrap();
    }

    async fn stop(self) -> RunEnd {
        self.signal(Signal::Stop);
        tokio::time::timeout(PATIENCE, self.started.end).await.expect("it stops").unwrap()
    }

    /// Lets the gateway die until it is quarantined.
    async fn quarantine(&mut self) -> Place {
        let place = self.only_place().await;
        self.befall(&place.child, Misfortune::WorkerDies).await;
        self.until_state("serving", 1).await;
        self.befall(&place.child, Misfortune::WorkerDies).await;
        self.until_state("quarantined", 1).await;
        place
    }
}

async fn get(place: &Place, path: &str, token: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(place.address).await.unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {token}\r\nconnection: close\r\n\r\n");
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, connection.read_to_string(&mut text)).await.expect("an answer").unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status in {text:?}")), text)
}

async fn post(place: &Place, token: &str) -> (u16, String) {
    let mut connection = TcpStream::connect(place.address).await.unwrap();
    let body = r#"{"model":"m","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}"#;
    let head = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: localhost\r\nx-api-key: {token}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut text = String::new();
    tokio::time::timeout(PATIENCE, connection.read_to_string(&mut text)).await.expect("an answer").unwrap();
    (text.split(' ').nth(1).unwrap_or_default().parse().unwrap_or_default(), text)
}

async fn serves(place: &Place) -> bool {
    get(place, "/v1/models", &place.token).await.0 == 200
}

#[actix::test]
async fn a_gateway_whose_worker_dies_is_started_again_and_connections_made_meanwhile_wait() {
    let mut scene = Scene::start(PATIENT).await;
    let before = scene.only_place().await;
    scene.befall(&before.child, Misfortune::WorkerDies).await;
    scene.until_state("backing_off", 0).await;
    assert!(serves(&before).await, "the connection waits, then it is answered");
    assert_eq!(scene.only_place().await, before, "same generation, port and token");
    scene.until_state("serving", 1).await;
}

#[actix::test]
async fn a_gateway_actor_that_ends_is_started_again() {
    let mut scene = Scene::start(PATIENT).await;
    let before = scene.only_place().await;
    scene.befall(&before.child, Misfortune::ActorEnds).await;
    scene.until(|gateways| gateways[0].cause.as_deref() == Some("actor_ended")).await;
    assert!(serves(&before).await);
    assert_eq!(scene.only_place().await, before);
}

#[actix::test]
async fn the_port_of_a_quarantined_gateway_says_why_to_those_who_show_the_token() {
    let mut scene = Scene::start(STRICT).await;
    let place = scene.quarantine().await;
    let (status, text) = post(&place, &place.token).await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("x-should-retry: false"), "{text}");
    assert!(text.contains("it ended 2 times") && text.contains("SIGHUP"), "{text}");
    assert_eq!(post(&place, "wrong").await.0, 401);
}

#[actix::test]
async fn sighup_releases_a_quarantined_gateway_on_its_port_and_nobody_is_turned_away() {
    let mut scene = Scene::start(STRICT).await;
    let place = scene.quarantine().await;
    scene.signal(Signal::Reload);
    scene.until_state("serving", 2).await;
    for _ in 0..5 {
        assert_ne!(post(&place, &place.token).await.0, 503, "nobody refuses any more");
        assert!(serves(&place).await);
    }
    assert_eq!(scene.only_place().await, place);
}

#[actix::test]
async fn an_untried_fingerprint_releases_a_quarantined_slot() {
    let mut scene = Scene::start(STRICT).await;
    let place = scene.quarantine().await;
    scene.write(&config(2, STRICT));
    scene.until_state("serving", 0).await;
    scene.until(|gateways| gateways.len() == 1).await;
    let after = scene.only_place().await;
    assert_eq!(after.child.generation, place.child.generation.next());
    assert!(serves(&after).await);
}

#[actix::test]
async fn a_service_with_a_quarantined_gateway_stops() {
    let mut scene = Scene::start(STRICT).await;
    scene.quarantine().await;
    assert_eq!(scene.stop().await, RunEnd::Stopped);
}

#[actix::test]
async fn a_service_stops_while_a_gateway_is_down() {
    let mut scene = Scene::start("backoff_initial = \"30s\"\n").await;
    let place = scene.only_place().await;
    scene.befall(&place.child, Misfortune::WorkerDies).await;
    scene.until_state("backing_off", 0).await;
    assert_eq!(scene.stop().await, RunEnd::Stopped);
}

#[actix::test]
async fn a_panic_in_a_handler_ends_that_request_alone() {
    let scene = Scene::start(PATIENT).await;
    let place = scene.only_place().await;
    assert_eq!(get(&place, "/panic", &place.token).await.0, 500);
    assert!(serves(&place).await);
    assert_eq!(scene.status.borrow().gateways[0].restarts, 0);
}

#[actix::test]
async fn a_restarted_service_takes_the_same_ports_with_the_same_tokens() {
    let scene = Scene::start(PATIENT).await;
    let before = scene.only_place().await;
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    let first = scene.folder.path().to_owned();
    scene.signal(Signal::Stop);
    let Scene { started, folder: first_folder, .. } = scene;
    assert_eq!(started.end.await, Ok(RunEnd::Stopped));
    for name in ["c.toml", "state/gateways.json"] {
        fs::copy(first.join(name), folder.path().join(name)).unwrap();
    }
    drop(first_folder);
    let scene = Scene::on(folder).await;
    let after = scene.only_place().await;
    assert_eq!((after.address, after.token), (before.address, before.token));
}

#[actix::test]
async fn nothing_is_left_of_generations_that_have_gone() {
    let mut scene = Scene::start(PATIENT).await;
    let before = scene.peek().await;
    for port in 2..6 {
        scene.write(&config(port, PATIENT));
        let generation = u64::from(port);
        scene.until(|gateways| matches!(gateways, [only] if only.generation == generation && only.current)).await;
    }
    let after = scene.peek().await;
    assert_eq!(after.counts, before.counts);
    assert_eq!(after.places.len(), 1);
}

/// What the tests may see of the Supervisor.
#[derive(Message)]
#[rtype(result = "Peeked")]
struct Peek;

#[derive(MessageResponse)]
struct Peeked {
    status: watch::Receiver<Arc<StatusView>>,
    places: Vec<Place>,
    /// Of specs, origins and upstream states.
    counts: [usize; 3],
}

impl Handler<Peek> for Supervisor {
    type Result = Peeked;

    fn handle(&mut self, _: Peek, _: &mut Self::Context) -> Peeked {
        let children = self.core.snapshot().gateways.into_iter();
        let children = children.map(|gateway| Child { slot: gateway.slot, generation: gateway.generation });
        let place = |child: Child| {
            let (address, token) = (self.gateways.address(&child)?, self.gateways.token(&child)?.expose().to_owned());
            Some(Place { child, address, token })
        };
        Peeked {
            status: self.control_context.status.clone(),
            places: children.filter_map(place).collect(),
            counts: [self.specs.len(), self.origins.len(), self.states.count()],
        }
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Befall {
    child: Child,
    misfortune: Misfortune,
}

impl Handler<Befall> for Supervisor {
    type Result = ();

    fn handle(&mut self, Befall { child, misfortune }: Befall, _: &mut Self::Context) {
        self.gateways.befall(&child, misfortune);
    }
}
