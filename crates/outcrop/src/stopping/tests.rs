//! Orders against a register of this process: what is written when, and who may resume.

use outcrop_policy::stops::Stops;
use outcrop_proxy::{Metrics, Parts};
use prometheus_client::registry::Registry;
use tokio_util::task::TaskTracker;

use super::*;

struct Fixture {
    gateway: Arc<Gateway>,
    stopper: Arc<Stopper>,
    register: Register,
    _work: tokio::task::JoinSet<()>,
}

async fn fixture(rules: &str, register: Register) -> Fixture {
    let text = format!(
        "[store]\nurl = \"memory:\"\n[auth]\nmode = \"open\"\n[[path]]\nname = \"x\"\nkind = \"openai\"\nurl = \"http://127.0.0.1:1/v1\"\n\
         [[model]]\nname = \"m\"\ntargets = [{{path = \"x\", id = \"m\"}}]\n[[price]]\nmodel = \"m\"\nfree = true\n{rules}"
    );
    let checked = crate::config::parse("t.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let tasks = TaskTracker::new();
    let snapshot = crate::snapshot::build(&checked, 1, None, &tasks).unwrap();
    let metrics = Metrics::register(&mut Registry::with_prefix("outcrop"));
    let kept = crate::store::open(&checked, &tasks, None).await.unwrap();
    let (keeper, background) = (kept.keeper, tasks);
    let grant_wait_max = checked.store.grant_wait_max;
    let slots = checked.slots;
    let parts = Parts { metrics, keeper, slots, grant_wait_max, background };
    let gateway = Arc::new(Gateway::new(snapshot, parts));
    let (stopper, work) = start(&checked.stop, Path::new(""), &gateway, (register.clone(), true));
    let mut running = tokio::task::JoinSet::new();
    running.spawn(work);
    Fixture { gateway, stopper, register, _work: running }
}

fn who(name: &str) -> Administrator {
    Administrator::of_the_machine(name)
}

impl Fixture {
    fn in_force(&self) -> Arc<Stops> {
        self.gateway.stops.in_force()
    }

    async fn stop(&self, scope: &str) -> String {
        let order = StopOrder { scope: Some(scope.into()), ..StopOrder::default() };
        let answer = self.stopper.stop(order, who("ada")).await.unwrap();
        assert_eq!(answer["durable"], true, "{answer}");
        answer["stop"]["id"].as_str().unwrap().to_owned()
    }

    async fn resume(&self, id: &str, staged: bool, by: &str) -> Result<Value, NotDone> {
        let order = ResumeOrder { id: Some(id.into()), staged, ..ResumeOrder::default() };
        self.stopper.resume(order, who(by)).await
    }

    fn written(&self) -> usize {
        self.register.documents().of(journal::STOP).count()
    }
}

#[tokio::test]
async fn a_stop_is_in_force_at_once_and_written_when_it_is_acknowledged() {
    let fixture = fixture("", Register::in_memory()).await;
    let answering = fixture.stopper.stop(StopOrder::default(), who("ada"));
    assert!(fixture.in_force().of_everything().is_some(), "before anybody waited for the answer");
    assert_eq!(fixture.written(), 0);
    assert_eq!(answering.await.unwrap()["durable"], true);
    assert_eq!(fixture.written(), 1);
    assert_eq!(fixture.in_force().pending().count(), 0);
}

#[tokio::test]
async fn a_resume_takes_the_stop_back_and_names_what_there_is() {
    let fixture = fixture("", Register::in_memory()).await;
    let id = fixture.stop("key:ci").await;
    let refused = fixture.resume("nothing", false, "ada").await.unwrap_err();
    assert!(refused.status == StatusCode::NOT_FOUND && refused.message.contains(&id), "{refused:?}");
    let order = ResumeOrder { scope: Some("key:ci".into()), ..ResumeOrder::default() };
    assert_eq!(fixture.stopper.resume(order, who("ada")).await.unwrap()["resumed"], json!([id]));
    assert!(fixture.in_force().none());
    assert_eq!(fixture.written(), 0);
}

#[tokio::test]
async fn what_is_written_is_in_force_after_a_restart_and_on_other_replicas() {
    let register = Register::in_memory();
    let first = fixture("", register.clone()).await;
    let other = fixture("", register.clone()).await;
    let id = first.stop("team:blue").await;
    let mut watching = other.gateway.stops.watch();
    let there = watching.wait_for(|stops| stops.get(&id).is_some());
    tokio::time::timeout(DONE_MAX, there).await.unwrap().unwrap();
    drop(first);
    let again = fixture("", register).await;
    assert!(again.in_force().get(&id).is_some());
}

#[tokio::test]
async fn what_cannot_be_read_stops_everything_until_somebody_discards_it() {
    let register = Register::in_memory();
    register.put(journal::STOP, "x", "{}").await.unwrap();
    let fixture = fixture("", register).await;
    let stop = fixture.in_force().of_everything().cloned().unwrap();
    assert!(stop.level == Level::Drain && stop.reason.contains("outcrop resume unreadable"), "{stop:?}");
    fixture.resume(keeper::UNREADABLE, false, "ada").await.unwrap();
    assert!(fixture.in_force().none());
    assert_eq!(fixture.written(), 0);
}

#[tokio::test]
async fn two_persons_resume_and_one_does_not() {
    let fixture = fixture("[stop]\ntwo_person_resume = true", Register::in_memory()).await;
    let id = fixture.stop("all").await;
    let asked = fixture.resume(&id, false, "ada").await.unwrap();
    assert_eq!((&asked["asked"], &asked["resumed"]), (&json!([id]), &json!([])));
    assert_eq!(fixture.stopper.list()[0]["resume_asked_by"], "ada");
    let again = fixture.resume(&id, false, "ada").await.unwrap_err();
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(fixture.in_force().of_everything().is_some(), "still stopped");
    assert_eq!(fixture.resume(&id, false, "bob").await.unwrap()["resumed"], json!([id]));
    assert!(fixture.in_force().none());
    assert_eq!(fixture.register.documents().of("resume").count(), 0);
}

#[tokio::test]
async fn a_staged_resume_is_written_and_ends_by_itself() {
    let fixture = fixture("[stop]\nstaged_over = \"1ms\"", Register::in_memory()).await;
    let id = fixture.stop("all").await;
    assert_eq!(fixture.resume(&id, true, "ada").await.unwrap()["staged"], json!([id]));
    let mut watching = fixture.gateway.stops.watch();
    tokio::time::timeout(DONE_MAX, watching.wait_for(|stops| stops.none())).await.unwrap().unwrap();
    assert_eq!(fixture.written(), 0);
}

#[tokio::test]
async fn a_kill_of_a_path_ends_its_process_and_a_kill_of_a_key_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let path = format!(
        "[[path]]\nname = \"desk\"\nkind = \"mcp\"\neffect = \"read_only\"\n\
         command = [\"/bin/sh\", \"-c\", \"echo $$ > {}; exec sleep 600\"]\n",
        file.display()
    );
    let fixture = fixture(&path, Register::in_memory()).await;
    let snapshot = fixture.gateway.snapshot();
    let mut listing = tokio::task::JoinSet::new();
    listing.spawn(async move {
        let Some(outcrop_upstream::Path::Mcp(path)) = snapshot.upstreams.path("desk") else { panic!() };
        path.list_tools(tokio::time::Instant::now() + DONE_MAX).await.is_ok()
    });
    let pid = wait(|| std::fs::read_to_string(&file).ok().filter(|pid| pid.ends_with('\n'))).await;
    // One that waits to be reaped runs nothing any more.
    let stat = format!("/proc/{}/stat", pid.trim());
    let runs = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    let order = |scope: &str| StopOrder {
        scope: Some(scope.to_owned()),
        level: Some(Level::Kill),
        ..StopOrder::default()
    };
    fixture.stopper.stop(order("key:ci"), who("ada")).await.unwrap();
    assert!(runs());
    fixture.stopper.stop(order("path:desk"), who("ada")).await.unwrap();
    wait(|| (!runs()).then_some(())).await;
}

/// Looks again and again.
async fn wait<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            match look() {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    tokio::time::timeout(DONE_MAX, looking).await.unwrap()
}

#[tokio::test]
async fn nobody_stops_or_resumes_what_is_not_his() {
    let fixture = fixture("", Register::in_memory()).await;
    let blue = Administrator { manages: vec![Scope::parse("team:blue").unwrap()], ..who("bob") };
    let order = |scope: &str| StopOrder { scope: Some(scope.to_owned()), ..StopOrder::default() };
    for scope in ["all", "team:red", "key:ci"] {
        let refused = fixture.stopper.stop(order(scope), blue.clone()).await.unwrap_err();
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{scope}");
    }
    assert!(fixture.in_force().none());
    fixture.stopper.stop(order("team:blue+model:m"), blue.clone()).await.unwrap();
    let all = fixture.stop("all").await;
    let order = ResumeOrder { id: Some(all), ..ResumeOrder::default() };
    let refused = fixture.stopper.resume(order, blue).await.unwrap_err();
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused() {
    let fixture = fixture("", Register::in_memory()).await;
    let order = StopOrder { scope: Some("kee:x".into()), ..StopOrder::default() };
    let refused = fixture.stopper.stop(order, who("ada")).await.unwrap_err();
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(fixture.in_force().none());
}
