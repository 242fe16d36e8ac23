// Say when the schedule was to start this, and when it did.
export const handler = async (event) => {
  console.log(JSON.stringify({ planned: event.planned, started: new Date().toISOString() }));
};
