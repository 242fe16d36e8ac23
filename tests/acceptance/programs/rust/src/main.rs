use lambda_runtime::{run, service_fn, Error, LambdaEvent};
use serde_json::{json, Value};

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    println!("got {}", event.payload["name"]);
    if event.payload["do"] == "error" {
        return Err("no way".into());
    }
    Ok(json!({"hello": event.payload["name"], "id": event.context.request_id, "arn": event.context.invoked_function_arn}))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}
