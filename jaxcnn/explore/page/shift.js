export async function startShift() {}
