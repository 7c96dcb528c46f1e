//! The ConfigActor on a real folder; and what it makes of each thing that it can find.

use std::fs;

use tempfile::TempDir;

use super::*;

fn file(text: &str) -> Found {
    let (path, folder) = (PathBuf::from("/c/claudette.toml"), PathBuf::from("/c"));
    Found::File(Source { path, folder, text: text.to_owned(), world_readable: false })
}

fn unreadable(reason: &str) -> Found {
    Found::Unreadable(Fault::whole("/c/claudette.toml", reason))
}

#[test]
fn only_another_content_is_loaded() {
    let mut seen = Seen::default();
    let steps = [
        ("nothing, at first", Found::Nothing(None), Verdict::Leave),
        ("it appears", file("a"), Verdict::Load),
        ("touched", file("a"), Verdict::Leave),
        ("written", file("b"), Verdict::Load),
        ("gone", Found::Nothing(None), Verdict::Gone),
        ("still gone", Found::Nothing(None), Verdict::Leave),
        ("back as it was", file("b"), Verdict::Leave),
        ("gone again", Found::Nothing(None), Verdict::Gone),
        ("back as another", file("c"), Verdict::Load),
        ("locked", unreadable("denied"), Verdict::Load),
        ("still locked", unreadable("denied"), Verdict::Leave),
        ("open again", file("c"), Verdict::Load),
        ("truncated", file(""), Verdict::Wait),
        ("written again as it was", file("c"), Verdict::Leave),
        ("truncated again", file("\n"), Verdict::Wait),
        ("and left so", file("\n"), Verdict::Load),
        ("touched", file("\n"), Verdict::Leave),
    ];
    for (what, found, expected) in steps {
        assert_eq!(judge(&mut seen, &found, false), expected, "{what}");
    }
}

#[test]
fn who_tells_gets_whatever_is_there() {
    let mut seen = Seen::default();
    for found in [file("a"), file("a"), file(""), Found::Nothing(None), Found::Nothing(None), file("")] {
        assert_eq!(judge(&mut seen, &found, true), Verdict::Load);
    }
}

/// A config in a folder of its own, and the actor that watches it.
struct Scene {
    folder: TempDir,
    actor: Addr<ConfigActor>,
    events: mpsc::UnboundedReceiver<Event>,
}

/// Revision and a value of what was accepted.
type Accepted = (u64, u32);

fn text(intensity: u32) -> String {
    format!("[supervisor]\nrestart_intensity = {intensity}\ndebounce = \"20ms\"\n")
}

impl Scene {
    async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("c.toml"), text(1)).unwrap();
        let path = folder.path().join("c.toml");
        Self::watching(folder, path).await
    }

    async fn watching(folder: TempDir, path: PathBuf) -> Self {
        let (tx, events) = mpsc::unbounded_channel();
        let actor = ConfigActor::new(Some(path), tx, true).start();
        actor.send(Reload(ReloadCause::Start)).await.unwrap();
        let mut scene = Self { folder, actor, events };
        assert_eq!(scene.accepted().await, (1, 1));
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(40), self.events.recv()).await.expect("an event comes").unwrap()
    }

    async fn accepted(&mut self) -> Accepted {
        match self.event().await {
            Event::ConfigAccepted { settings, revision, .. } => (revision.0, settings.supervisor.restart_intensity),
            other => panic!("{other:?}"),
        }
    }

    async fn kept(&mut self) {
        let event = self.event().await;
        assert!(matches!(event, Event::ConfigKept), "{event:?}");
    }
}

#[actix::test]
async fn a_save_by_rename_is_seen_every_time() {
    let mut scene = Scene::start().await;
    for revision in 2..6 {
        fs::write(scene.path("c.toml.new"), text(revision)).unwrap();
        fs::rename(scene.path("c.toml.new"), scene.path("c.toml")).unwrap();
        assert_eq!(scene.accepted().await, (u64::from(revision), revision));
    }
}

#[actix::test]
async fn a_save_that_moves_the_old_file_away_first_is_seen() {
    let mut scene = Scene::start().await;
    fs::rename(scene.path("c.toml"), scene.path("c.toml~")).unwrap();
    fs::write(scene.path("c.toml"), text(2)).unwrap();
    fs::remove_file(scene.path("c.toml~")).unwrap();
    assert_eq!(scene.accepted().await, (2, 2));
}

#[actix::test]
async fn a_half_written_file_keeps_the_running_revision_until_it_is_whole() {
    let mut scene = Scene::start().await;
    fs::write(scene.path("c.toml"), "[supervisor]\nrestart_inten").unwrap();
    scene.kept().await;
    fs::write(scene.path("c.toml"), text(2)).unwrap();
    assert_eq!(scene.accepted().await, (2, 2));
}

#[actix::test]
async fn a_truncated_file_gets_a_moment_before_it_counts() {
    let mut scene = Scene::start().await;
    fs::write(scene.path("c.toml"), "").unwrap();
    let (revision, intensity) = scene.accepted().await;
    assert_eq!((revision, intensity), (2, 5), "left empty, it means the defaults");
}

#[actix::test]
async fn a_deleted_file_keeps_the_running_revision_and_may_return() {
    let mut scene = Scene::start().await;
    fs::remove_file(scene.path("c.toml")).unwrap();
    scene.actor.send(Reload(ReloadCause::Signal)).await.unwrap();
    scene.kept().await;
    fs::write(scene.path("c.toml"), text(2)).unwrap();
    assert_eq!(scene.accepted().await, (2, 2));
}

#[actix::test]
async fn a_swapped_link_is_seen_and_so_is_what_it_leads_to() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name);
    for (name, intensity) in [("one", 1), ("two", 2)] {
        fs::create_dir(path(name)).unwrap();
        fs::write(path(name).join("c.toml"), text(intensity)).unwrap();
    }
    std::os::unix::fs::symlink("one", path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/c.toml", path("c.toml")).unwrap();
    let config = path("c.toml");
    let mut scene = Scene::watching(folder, config).await;
    std::os::unix::fs::symlink("two", scene.path("..new")).unwrap();
    fs::rename(scene.path("..new"), scene.path("..data")).unwrap();
    assert_eq!(scene.accepted().await, (2, 2));
    fs::write(scene.path("two/c.toml"), text(3)).unwrap();
    assert_eq!(scene.accepted().await, (3, 3));
}

#[actix::test]
async fn a_folder_that_goes_and_comes_is_followed() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("inner")).unwrap();
    let config = folder.path().join("inner/c.toml");
    fs::write(&config, text(1)).unwrap();
    let mut scene = Scene::watching(folder, config).await;
    for revision in 2..4 {
        fs::remove_dir_all(scene.path("inner")).unwrap();
        fs::create_dir(scene.path("inner")).unwrap();
        fs::write(scene.path("inner/c.toml"), text(revision)).unwrap();
        assert_eq!(scene.accepted().await, (u64::from(revision), revision));
    }
}

#[actix::test]
async fn sighup_loads_what_has_not_changed() {
    let mut scene = Scene::start().await;
    scene.actor.send(Reload(ReloadCause::Signal)).await.unwrap();
    assert_eq!(scene.accepted().await, (2, 1));
}
