// Say when the schedule was to start this, and when it did; without the prefix that console.log would give it.
export const handler = async (event) => {
  process.stdout.write(JSON.stringify({ planned: event.planned, started: new Date().toISOString() }) + "\n");
};
